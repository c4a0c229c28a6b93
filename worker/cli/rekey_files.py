"""`worker rekey FILE...`: container files, in place."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from worker.avro.container import ContainerReader, DatumSplitter
from worker.cli import summary
from worker.cli.encrypt_files import expanded
from worker.cli.rekey_call import Call
from worker.errors import ConfigError, DecodeError, FatalError, WorkerError
from worker.rekey.census import Census, told
from worker.rekey.files import FileRekey
from worker.rekey.pace import Pace


def run(call: Call, arguments: Sequence[str]) -> bool:
    """Do what the call says to files; returns whether all is as wanted."""
    files = list(expanded(arguments).values())
    if call.mode == "verify":
        return _verify(call, files)
    if call.mode == "estimate":
        raise ConfigError("--dry-run is for a table or a topic; of files, rekey one and see")

    def refused(path: Path, block: int, index: int, error: WorkerError) -> None:
        call.refused({"file": str(path), "block": block, "index": index}, error)
        if not call.keep:
            raise FatalError(
                f"{path}, record {index} of block {block}: {error}; the file stays as it was. Go on with the others "
                "with --on-error keep"
            )

    rekey = FileRekey(call.way, call.wanted, refused, Pace(call.rate))
    parts: list[dict[str, object]] = []
    with summary.bars(shown=not call.json) as move:
        for path in files:
            done = rekey.rekey(path, stopping=call.stop.is_set, observe=partial(_move, move, path.name))
            state = "skipped" if done.skipped else "kept" if done.kept else "done" if done.complete else "interrupted"
            parts.append({"file": str(path), "state": state, "records": sum(done.counts.values()), "kept": done.kept})
            if call.stop.is_set():
                break
    good = all(part["state"] in ("done", "skipped") for part in parts) and len(parts) == len(files)
    call.tell({"complete": good, "fields": parts}, "done" if good else "not all is done; call it again to continue")
    return good


def _move(move: summary.Bars, name: str, done: int, total: int) -> None:
    move({name: (done, total)})


def _verify(call: Call, files: Sequence[Path]) -> bool:
    lines: list[dict[str, object]] = []
    others = 0
    for path in files:
        try:
            with path.open("rb") as file:
                reader = ContainerReader(file)
                census, splitter = Census(call.marks(reader.schema), reader.schema), DatumSplitter(reader.schema)
                for block in reader.blocks():
                    datums, rest = splitter.split(block)
                    census.add_datums(datums, [None] * len(datums))
                    census.broken += rest is not None
        except OSError as exc:
            raise ConfigError(f"{path}: {exc.strerror}") from exc
        except DecodeError as exc:
            raise ConfigError(f"{path}: {exc}") from exc
        lines += [{"file": str(path), **line} for line in told(census.lines())]
        others += census.others
    call.tell({"others": others, "fields": lines}, f"values by keyset, {others} not as wanted")
    return others == 0
