"""Plan federated AI services under tail-latency contracts.

The names below are imported on first use, so that `import fedopt` and the command line start at once.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedopt.audit import Audit as Audit
    from fedopt.compare import Comparison as Comparison
    from fedopt.compare import compare as compare
    from fedopt.errors import FedoptError as FedoptError
    from fedopt.errors import InputError as InputError
    from fedopt.errors import MissingExtraError as MissingExtraError
    from fedopt.instance import Instance as Instance
    from fedopt.instance import InstanceError as InstanceError
    from fedopt.instance import load as load
    from fedopt.instance.reading import examples as examples
    from fedopt.plan import Plan as Plan
    from fedopt.plan import check as check
    from fedopt.simulate import SimulationResult as SimulationResult
    from fedopt.simulate import simulate as simulate
    from fedopt.solve import solve as solve

__version__ = "0.1.0"

_HOME = {
    "Audit": "fedopt.audit",
    "Comparison": "fedopt.compare",
    "FedoptError": "fedopt.errors",
    "InputError": "fedopt.errors",
    "Instance": "fedopt.instance",
    "InstanceError": "fedopt.instance",
    "MissingExtraError": "fedopt.errors",
    "Plan": "fedopt.plan",
    "SimulationResult": "fedopt.simulate",
    "check": "fedopt.plan",
    "compare": "fedopt.compare",
    "examples": "fedopt.instance.reading",
    "load": "fedopt.instance",
    "simulate": "fedopt.simulate",
    "solve": "fedopt.solve",
}

__all__ = [
    "Audit",
    "Comparison",
    "FedoptError",
    "InputError",
    "Instance",
    "InstanceError",
    "MissingExtraError",
    "Plan",
    "SimulationResult",
    "__version__",
    "check",
    "compare",
    "examples",
    "load",
    "simulate",
    "solve",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'fedopt' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """Keeps `fedopt.solve` and its like the functions that they are.

    The import system sets a package's attribute to each submodule that it loads; some submodules here carry
    the name of their one public function, and the function is meant.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
