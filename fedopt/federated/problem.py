"""An operator's private problem, stated in cvxpy: its own variables, costs and constraints.

fedopt sees the load expression ℓ(w) alone, what the operator makes available on each of its offers as an
affine or concave function of its private variables w. From it follows what every step of a run needs,

    v(z) = min { c(w) : ℓ(w) ≥ z + b, w ∈ W } − min { c(w) : ℓ(w) ≥ b, w ∈ W },

the private cost of carrying loads z ≥ 0 on top of those booked already, b. v is convex, v(0) = 0, and as
capacity may lie idle it never falls as z grows.

    step        argmin_z v(z) − p·z + ½‖√ρ∘z − s‖²,  s = √ρ∘x        the domain step of Algorithm 1
    support     min_z v(z) − p·z, rounded down                       what certifies the lower bound
    cost        v(z), rounded up; infinite where z cannot be carried

Each is one parametrised program (DPP: the penalty enters by its square root, because a product of two
parameters would not be), which rounds solve again without building it again. Rounding is on the safe side by
the solver's dual: for min ½wᵀPw + qᵀw subject to b − Aw ∈ K, any dual point y ∈ K* with the residual
r = Pw + q + Aᵀy gives the bound ½wᵀPw + (q + Aᵀy)ᵀw − bᵀy − |r|ᵀ|u − w| over all u, of which the last term
is taken as if no variable left ten times its size.
"""

from __future__ import annotations

import importlib.util
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cvxpy as cp
import numpy as np
import numpy.typing as npt

from fedopt.errors import FedoptError, InputError
from fedopt.federated.domain import ProblemError
from fedopt.instance import Domain, Linear, Piecewise, Quadratic

__all__ = [
    "Build",
    "CompiledProblem",
    "PrivateProblem",
    "ProblemError",
    "build_from",
    "default_problem",
    "stated",
]

Floats = npt.NDArray[np.float64]
Build = Callable[[tuple[Domain, ...]], "PrivateProblem"]
"""States an operator's problem from the domains in its private file."""

_CVXPY = threading.RLock()  # cvxpy is not thread-safe, not even over different problems
_TOLERANCES = (1e-9, 1e-6)  # of Clarabel, the second where the first fails; what is left open is rounded away
_RANGE = 10.0  # how many times its size a variable may take, in the rounding of bounds
_SHORT = 1e-9  # relative rounding of loads that are to be carried, as in the reservation store


class PrivateProblem:
    """An operator's private subproblem.

    Parameters
    ----------
    load
        What the operator makes available on each of its offers, work per unit of time: a vector of affine or
        concave expressions in the order of the offers, or a mapping "domain/offer" → scalar expression.
    cost
        Convex scalar expression, money per unit of time. What is paid when nothing is carried is left out of
        what fedopt counts.
    constraints
        Convex constraints on the operator's own variables. They must bound the loads.
    seconds
        Time limit of one solve.

    Raises
    ------
    ProblemError
        If the problem is not convex under cvxpy's rules (DCP), or the load has the wrong shape.
    """

    def __init__(
        self,
        load: Any,
        cost: Any,
        constraints: Sequence[Any] = (),
        *,
        seconds: float = 10.0,
    ) -> None:
        self.load, self.constraints, self.seconds = load, list(constraints), float(seconds)
        self.cost = cp.Constant(cost) if isinstance(cost, int | float) else cost
        if not (math.isfinite(self.seconds) and self.seconds > 0.0):
            raise ProblemError("shape", "the time limit of a private problem must be a positive number")
        if not (isinstance(self.cost, cp.Expression) and self.cost.is_scalar()):
            raise ProblemError("shape", "the cost of a private problem must be a scalar cvxpy expression")
        if not self.cost.is_convex():
            raise ProblemError("not convex", "its cost is no convex expression under cvxpy's rules (DCP)")
        for number, constraint in enumerate(self.constraints):
            if not isinstance(constraint, cp.constraints.constraint.Constraint):
                raise ProblemError(
                    "shape", f"constraint {number} of a private problem is no cvxpy constraint"
                )
            if not constraint.is_dcp():
                raise ProblemError("not convex", f"constraint {number} does not follow cvxpy's rules (DCP)")

    def loads(self, offers: Sequence[str]) -> Any:
        """The load as a vector in the order of the offers. Raises ProblemError."""
        load = self.load
        if isinstance(load, Mapping):
            missing, unknown = sorted(set(offers) - set(load)), sorted(set(load) - set(offers))
            if missing or unknown:
                which = f"lacks {missing[0]!r}" if missing else f"names {unknown[0]!r}, which is no offer"
                raise ProblemError("shape", f"the load of a private problem {which}")
            load = cp.hstack([load[offer] for offer in offers])
        if not isinstance(load, cp.Expression) or load.size != len(offers):
            raise ProblemError(
                "shape",
                f"the load of a private problem must be {len(offers)} cvxpy expressions, one an offer",
            )
        if not load.is_concave():
            raise ProblemError("not convex", "its load must be affine or concave in its variables (DCP)")
        return cp.reshape(load, (len(offers),), order="C")

    def compiled(self, offers: Sequence[str], booked: Floats | None = None) -> CompiledProblem:
        """The problem ready for a run; `booked`: loads that are carried already, (offers,)."""
        return CompiledProblem(self, offers, booked)


class CompiledProblem:
    """A `fedopt.federated.domain.Subproblem` by cvxpy and Clarabel; built once, solved in every round.

    Raises
    ------
    ProblemError
        If the problem is not parametrised under cvxpy's rules (DPP), is infeasible when nothing is carried,
        or bounds its cost from below or its loads from above by nothing.
    """

    def __init__(self, problem: PrivateProblem, offers: Sequence[str], booked: Floats | None = None) -> None:
        count = len(offers)
        self._seconds = problem.seconds
        with _CVXPY:
            load = problem.loads(offers)
            z = self._z = cp.Variable(count, nonneg=True)
            self._prices, self._root = cp.Parameter(count), cp.Parameter(count, nonneg=True)
            self._target, self._asked = cp.Parameter(count), cp.Parameter(count, nonneg=True)
            booked_already = np.zeros(count) if booked is None else np.asarray(booked, float)
            own = [*problem.constraints, load >= z + booked_already]
            self._worth = own[-1]
            near = 0.5 * cp.sum_squares(cp.multiply(self._root, z) - self._target)
            priced = near - self._prices @ z
            self._step = self._checked(cp.Problem(cp.Minimize(problem.cost + priced), own))
            self._free = self._checked(cp.Problem(cp.Minimize(priced), own))
            carried = load >= self._asked + booked_already
            self._carry = self._checked(
                cp.Problem(cp.Minimize(problem.cost), [*problem.constraints, carried])
            )
            self._shadow = carried
            self._standing = 0.0
            self._asked.value = np.zeros(count)
            status, lowest, _ = self._solved(self._carry)
            if status == cp.INFEASIBLE:
                raise ProblemError("infeasible", "nothing satisfies its constraints when no load is carried")
            if status == cp.UNBOUNDED:
                raise ProblemError("unbounded", "its cost has no lower limit")
            self._standing = lowest
            most = cp.Problem(cp.Maximize(cp.sum(z)), own)
            if self._solved(most)[0] == cp.UNBOUNDED:
                raise ProblemError("unbounded", "its loads have no upper limit; give every offer a capacity")
            self._some = 0.05 * np.maximum(np.asarray(z.value, float), 0.0)

    def quote(self) -> Floats:
        """Marginal costs at a twentieth of the largest loads."""
        with _CVXPY:
            self._asked.value = self._some
            self._solved(self._carry)
            shadow = np.asarray(self._shadow.dual_value, float).reshape(-1)
        return np.maximum(np.where(np.isfinite(shadow), shadow, 0.0), 0.0)

    def step(self, loads: Floats, prices: Floats, penalties: Floats, free: bool = False) -> Floats:
        """The loads z of the domain step.

        What it certifies are the prices p + ρ(x − z). Under a large penalty they are a small difference times
        a large number, so z is then taken from them: the solver's multiplier λ of the loads is their value,
        and z = x + (p − λ)/ρ.
        """
        root = np.sqrt(penalties)
        with _CVXPY:
            self._prices.value, self._root.value, self._target.value = prices, root, root * loads
            status, _, _ = self._solved(self._free if free else self._step)
            if status != cp.OPTIMAL:
                raise ProblemError("numerics", "the domain step has no solution")
            z = np.maximum(np.asarray(self._z.value, float), 0.0)
            worth = np.maximum(np.nan_to_num(np.asarray(self._worth.dual_value, float).reshape(-1)), 0.0)
            by_price = np.maximum(loads + (prices - worth) / penalties, 0.0)
            z = np.where(penalties * z > worth, by_price, z)
            # a solver's point may lie outside of the limits by its tolerance
            inside = 20.0 * self._tolerance
            while math.isinf(self.cost(z)):
                if inside > 1.0:
                    raise ProblemError("numerics", "the loads of the domain step cannot be carried")
                z, inside = z * (1.0 - inside), 10.0 * inside
            return z

    def support(self, prices: Floats, free: bool = False) -> float:
        """The dual value of the step without its penalty, the standing cost taken off."""
        nothing = np.zeros(len(prices))
        with _CVXPY:
            self._prices.value, self._root.value, self._target.value = prices, nothing, nothing
            status, _, bound = self._solved(self._free if free else self._step)
            if status != cp.OPTIMAL:
                raise ProblemError("numerics", "the step without a penalty has no solution")
        return bound - (0.0 if free else self._standing) - 1e-12 * abs(self._standing)

    def cost(self, loads: Floats) -> float:
        """v(loads): the least cost that carries them, less the standing cost."""
        with _CVXPY:
            self._asked.value = np.maximum(loads, 0.0) * (1.0 - _SHORT)
            try:
                status, value, bound = self._solved(self._carry)
                if status == cp.OPTIMAL and self._tolerance > _TOLERANCES[0]:
                    # only roughly solved: what it says of a little more holds of these loads
                    self._asked.value = np.maximum(loads, 0.0) * (1.0 + 10.0 * self._tolerance)
                    status, value, bound = self._solved(self._carry)
            except ProblemError as error:
                if (
                    error.reason == "numerics"
                ):  # on the brink: what is not known to be carried is not promised
                    return math.inf
                raise
            if status != cp.OPTIMAL:
                return math.inf
            shadow = np.abs(np.nan_to_num(np.asarray(self._shadow.dual_value, float).reshape(-1)))
        # the solver's point may miss its constraints by its tolerance; its gap says what that is worth
        missed = abs(value - bound) + 2.0 * max(_SHORT, self._tolerance) * float(shadow @ loads)
        return max(value + missed - self._standing, 0.0)

    def _checked(self, problem: cp.Problem) -> cp.Problem:
        if problem.is_mixed_integer():
            raise ProblemError("not convex", "its variables must be continuous; relax what is counted")
        if not problem.is_dcp():
            raise ProblemError("not convex", "it does not follow cvxpy's rules (DCP)")
        if not problem.is_dpp():
            raise ProblemError("not parametrised", "parameters of its own must follow cvxpy's rules (DPP)")
        return problem

    def _solved(self, problem: cp.Problem) -> tuple[str, float, float]:
        """(optimal, infeasible or unbounded; value; safe lower bound on the value). Raises ProblemError."""
        started = time.perf_counter()
        for tolerance in _TOLERANCES:
            names = ("tol_gap_abs", "tol_gap_rel", "tol_feas")
            options = {**dict.fromkeys(names, tolerance), "time_limit": self._seconds}
            data, chain, inverse = problem.get_problem_data(cp.CLARABEL, solver_opts=options)
            solved = chain.solve_via_data(problem, data, False, False, options)
            status = str(solved.status)
            self._tolerance = tolerance
            if status not in ("NumericalError", "MaxIterations"):
                break
        if status == "MaxTime" or time.perf_counter() - started > self._seconds:
            raise ProblemError("too slow", f"a solve took longer than its {self._seconds:g} seconds")
        if status in ("PrimalInfeasible", "AlmostPrimalInfeasible"):
            return cp.INFEASIBLE, math.inf, math.inf
        if status in ("DualInfeasible", "AlmostDualInfeasible"):
            return cp.UNBOUNDED, -math.inf, -math.inf
        if status not in ("Solved", "AlmostSolved", "InsufficientProgress"):
            raise ProblemError("numerics", f"the solver ended with {status!r}; scale its numbers")
        problem.unpack_results(solved, chain, inverse)
        value = float(problem.value)
        return cp.OPTIMAL, value, value - _uncertain(data, solved)


def _uncertain(data: Mapping[str, Any], solved: Any) -> float:
    """How far the optimum of a conic program may lie below the value that was found; see the module."""
    w, y = np.array(solved.x), np.array(solved.z)
    curved = data["P"] @ w if data.get("P") is not None else np.zeros(len(w))
    slope = data["c"] + data["A"].T @ y
    dual = 0.5 * float(w @ curved) + float(slope @ w) - float(data["b"] @ y)
    primal = 0.5 * float(w @ curved) + float(data["c"] @ w)
    residual = np.abs(curved + slope)
    away = float(residual @ (_RANGE * np.maximum(np.abs(w), 1.0)))
    rounding = 1e-13 * (abs(primal) + float(np.abs(data["b"]) @ np.abs(y)))
    return max(primal - dual, 0.0) + away + rounding


def default_problem(domains: Sequence[Domain]) -> PrivateProblem:
    """What an operator's domains say of costs and capacities, as a private problem: the place to start from.

    Raises ProblemError for a cost curve that is none of linear, quadratic and piecewise.
    """
    rate = cp.Variable(sum(len(domain.offers) for domain in domains), nonneg=True)
    costs, constraints, first = [], [], 0
    for domain in domains:
        own = rate[first : first + len(domain.offers)]
        factor = np.array([offer.work_factor for offer in domain.offers])
        constraints.append(factor @ own <= domain.capacity)
        costs += [_cost(offer.cost, rate[first + i]) for i, offer in enumerate(domain.offers)]
        first += len(domain.offers)
    return PrivateProblem(rate, cp.sum(cp.hstack(costs)), constraints)


def _cost(curve: Any, z: Any) -> Any:
    """The variable cost of a load as a cvxpy expression."""
    if isinstance(curve, Linear):
        return curve.rate * z
    if isinstance(curve, Quadratic):
        return curve.rate * z + curve.quad * cp.square(z)
    if isinstance(curve, Piecewise):
        starts = zip(curve.points, curve.slopes, strict=False)
        return cp.maximum(*[slope * (z - x) + (y - curve.fixed) for (x, y), slope in starts], 0.0)
    raise ProblemError(
        "shape", f"a {type(curve).__name__} cost has no expression; state the problem yourself"
    )


def build_from(place: str, folder: Path | None = None) -> Build:
    """The function in "FILE:FUNCTION" that states a private problem from an operator's domains.

    Raises InputError where there is no such file or function.
    """
    file, colon, name = place.rpartition(":")
    if not colon or not name.isidentifier():
        raise InputError(f"{place}: name a private problem as FILE:FUNCTION, such as private.py:build")
    path = (folder / file) if folder is not None else Path(file)
    spec = importlib.util.spec_from_file_location(f"fedopt_private_{path.stem}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise InputError(f"{path}: there is no Python file of a private problem")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InputError(f"{path}: cannot be run: {type(error).__name__}: {error}") from error
    build = getattr(module, name, None)
    if not callable(build):
        raise InputError(f"{path}: defines no function {name!r}")
    return build


def stated(build: Build, domains: Sequence[Domain]) -> PrivateProblem:
    """The problem that a function states. Raises ProblemError, also for whatever the function raises."""
    try:
        with _CVXPY:
            problem = build(tuple(domains))
    except FedoptError:
        raise
    except Exception as error:
        raise ProblemError("shape", f"the function of a private problem failed: {error}") from error
    if not isinstance(problem, PrivateProblem):
        raise ProblemError("shape", "the function of a private problem must return a PrivateProblem")
    return problem
