"""Learn risk models from accept/reject feedback and decompose an SLA over the domains."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fedopt.cli._options import Json, Out, Quiet
from fedopt.cli._output import check_out, emit, say

HistoryFile = Annotated[
    Path | None,
    typer.Argument(
        help="CSV with the columns domain, delay, throughput, accepted (0 or 1), and optionally stage "
        "(then one domain per stage is chosen).",
        metavar="HISTORY",
    ),
]


def command(
    history: HistoryFile = None,
    sla: Annotated[
        str, typer.Option("--sla", help="What is to be split, in the history's units.", metavar="TEXT")
    ] = "",
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="auto (default: chosen per domain by held-out score), convex, logistic, isotonic, trees or "
            "network.",
            show_default=False,
        ),
    ] = None,
    method: Annotated[str, typer.Option("--method", help="auto, price, grid or slsqp.")] = "auto",
    least: Annotated[
        str, typer.Option("--min-delay", help="Least partial delays: edge=5,core=10.", metavar="TEXT")
    ] = "",
    most: Annotated[str, typer.Option("--max-delay", help="Largest partial delays.", metavar="TEXT")] = "",
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            help="A further column of HISTORY: NAME:RULE for a metric (sum, product, loss, root-sum-square, "
            "min, max), NAME:context:24 or NAME:context:gold/silver for a context. Repeatable.",
            metavar="TEXT",
        ),
    ] = None,
    context: Annotated[
        str, typer.Option("--context", help="Of the SLA: hour=9,slice=gold.", metavar="TEXT")
    ] = "",
    flip: Annotated[
        float | None,
        typer.Option(
            "--flip",
            help="Share of answers that may be wrong [default: 0].",
            min=0.0,
            max=0.49,
            show_default=False,
        ),
    ] = None,
    thin: Annotated[
        bool,
        typer.Option("--thin", help="Accept a thin history; a logistic model with a prior is used then."),
    ] = False,
    save: Annotated[
        Path | None, typer.Option("--save", help="Keep the learned state in this file.", metavar="FILE")
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            "--resume", help="Start from a kept state; HISTORY then holds new answers.", metavar="FILE"
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", help="Seed of what draws lots [default: 0].", min=0, show_default=False),
    ] = None,
    out: Out = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Learn risk models from accept/reject feedback and decompose an SLA over the domains.

    Example: fedopt decompose history.csv --sla delay=100,throughput=0.5
    """
    from fedopt.learn.decide import Question, decide

    check_out(out, [] if history is None else [history])
    question = Question(sla, model, method, least, most, flip, thin, seed, tuple(metric or ()), context)
    document: dict[str, Any] = decide(question, history, resume, save)
    if not quiet:
        for warning in document["warnings"]:
            say(f"warning: {warning}")
    emit(document, summary(document), json=json, out=out, quiet=quiet)


def summary(document: dict[str, Any]) -> str:
    """The split in words."""
    width = max(len(domain["domain"]) for domain in document["domains"])
    lines = [
        f"delay {document['sla']['delay']:g}, throughput {document['sla']['throughput']:g}: "
        f"accepted by every domain with probability {document['probability']:.4f} "
        f"({document['model']} model{'s' * (document['model'] == 'mixed')})"
    ]
    further = [name for name in document["sla"] if name not in ("delay", "throughput")]
    for domain in document["domains"]:
        more = "".join(f"   {name} {domain[name]:.4g}" for name in further)
        lines.append(
            f"  {domain['domain']:<{width}}  delay {domain['delay']:10.4g}   throughput "
            f"{domain['throughput']:8.4g}{more}   P(accept) {domain['probability']:.4f}"
        )
    words = []
    if document["gap"] is not None:
        words.append(
            f"no split has a log-probability more than {document['gap']:.2g} higher under these models"
        )
    if document["calibration"]:
        words.append(f"held-out Brier score {document['calibration']['brier']:.4f}")
    return "\n".join([*lines, "; ".join(words)] if words else lines)
