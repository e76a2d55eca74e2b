"""A settlement in words."""

from __future__ import annotations

from fedopt.settlement.document import Settlement

__all__ = ["money", "summary"]


def money(amount: int) -> str:
    """Cents as units with two decimals."""
    sign = "-" if amount < 0 else ""
    return f"{sign}{abs(amount) // 100:,}.{abs(amount) % 100:02d}"


def summary(settlement: Settlement) -> str:
    """A line per domain, a line per tenant whose promise was broken, and the balance."""
    lines = [f"Settlement by the {settlement.rule} rule under {settlement.guarantee}:"]
    lines += [f"  {domain}: {money(amount)}" for domain, amount in sorted(settlement.net.items())]
    for line in settlement.lines:
        if line.refund:
            parts = ", ".join(
                f"{domain} {money(own)} (by the other rule {money(other)})"
                for domain, own, other in zip(line.domains, line.penalty, line.other_penalty, strict=True)
            )
            lines.append(f"  {line.tenant} was promised more: refund {money(line.refund)}, borne by {parts}")
    balance = "adds up to the cent" if settlement.conserved else "DOES NOT ADD UP"
    lines.append(f"  received {money(settlement.received)}; {balance}")
    return "\n".join(lines)
