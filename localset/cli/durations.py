"""How durations are written on the command line: `90s`, `1h30m`, as Go writes them."""

import click

from localset.machinery.durations import parse_duration


class _Duration(click.ParamType[float]):
    name = "duration"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, (int, float)):
            return float(value)
        try:
            return parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


DURATION = _Duration()
"""A click type whose value is seconds."""
