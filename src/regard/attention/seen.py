"""What a call recorded, and how a call is told what to record."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from regard.attention.drawings import drawing
from regard.attention.observations import Observation, TopKeys


class Seen(Mapping[str, Any]):
    """What one call recorded: a mapping from name to result, a tensor or `TopKeys`; `seen.entropy` reads it too."""

    def __init__(self, results: Mapping[str, "Tensor | TopKeys"]) -> None:
        self._results = dict(results)

    def __getitem__(self, name: str) -> Any:
        if name not in self._results:
            raise KeyError(f"{name!r} was not recorded; recorded: {', '.join(self._results) or 'nothing'}")
        return self._results[name]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._results:
            recorded = ", ".join(self.__dict__.get("_results", {})) or "nothing"
            raise AttributeError(f"{name!r} was not recorded; recorded: {recorded}")
        return self._results[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._results)

    def __len__(self) -> int:
        return len(self._results)

    def __repr__(self) -> str:
        results = (
            f"{name}: {value!r}" if isinstance(value, TopKeys) else f"{name}: {tuple(value.shape)}"
            for name, value in self._results.items()
        )
        return f"Seen({', '.join(results)})"

    def _repr_html_(self) -> str:
        return f"<table>{''.join(drawing(name, value) for name, value in self._results.items())}</table>"


Record = Sequence[Observation] | Mapping[str, Observation]


def named(*records: Record) -> dict[str, Observation]:
    """The observations of a call by name; two of a kind need names of their own."""
    pairs: list[tuple[str, Observation]] = []
    for record in records:
        if isinstance(record, Mapping):
            pairs += record.items()
        elif isinstance(record, Sequence):
            pairs += [(getattr(item, "name", ""), item) for item in record]
        else:
            raise TypeError(f"record takes a list of observations, got {record!r}; write record=[regard.Entropy()]")
    observations: dict[str, Observation] = {}
    for name, item in pairs:
        if not isinstance(item, Observation):
            hint = f"; write {item.__name__}()" if isinstance(item, type) and issubclass(item, Observation) else ""
            raise TypeError(f"record takes observations such as regard.Entropy(), got {item!r}{hint}")
        if name in observations:
            raise ValueError(
                f'two observations are called "{name}"; name them: '
                f'record={{"first": {observations[name]!r}, "second": {item!r}}}'
            )
        observations[name] = item
    return observations
