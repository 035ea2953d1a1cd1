"""The operator's door, one file per noun. Operators see states and figures; a look at something private is audited."""
