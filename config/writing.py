"""Settings written as TOML, so that what is shown or handed on reads back as the same."""

import json
from collections.abc import Mapping


def toml(sections: Mapping[str, Mapping[str, object]]) -> str:
    """Sections of settings as a TOML file; what is None is told in a comment."""
    lines = []
    for section, keys in sections.items():
        lines.append(f"[{section}]")
        lines += [f"# {key} is not set" if value is None else f"{key} = {_value(value)}" for key, value in keys.items()]
        lines.append("")
    return "\n".join(lines).rstrip()


def _value(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, dict):  # what is not set is left out
        pairs = ", ".join(f"{key} = {_value(inner)}" for key, inner in value.items() if inner is not None)
        return f"{{ {pairs} }}"
    # numbers, booleans and strings read the same in TOML, but for one character
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
