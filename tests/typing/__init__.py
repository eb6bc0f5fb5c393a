"""What users see of the types: checked by mypy and pyright, never run and never collected.

A line that ends in a ``type: ignore`` must be an error: both checkers warn of an ignore that is not
needed, so a type that has become too loose fails here.
"""
