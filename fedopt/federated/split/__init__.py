"""The split guarantee with private contracts: domains agree on shares of the deadline and of the risk, and on
bursts, and nobody sees anybody's envelope."""
