"""One script per published claim: ``python -m benchmarks.NAME [--json] [--rounds N]``; ``benchmarks.all`` runs all."""
