"""The demonstration itself: what is done, in which order, and what is said about it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from worker.avro import DeclarationOptions, compile_schema
from worker.demo.access import expect_refusal, open_email, open_records, reader
from worker.demo.claims import Output, collect, require
from worker.demo.customers import ENCRYPTED, SCHEMA, Population, customers, write
from worker.demo.site import TOPIC, Site
from worker.sdk import CacheOptions

_POPULATIONS = {
    "eu-central-1": Population({"DE": "de_DE", "FR": "fr_FR", "IT": "it_IT"}, seed=1),
    "ap-southeast-2": Population({"AU": "en_AU", "NZ": "en_NZ"}, seed=2),
}
_BOUND_S = 600.0
_SAMPLE = 200

Records = Mapping[str, Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class _Region:
    """One region's site, input and output."""

    site: Site
    written: Records
    output: Output


def run(records: int, console: Console) -> None:
    """
    Show the main job on two regions; needs about two minutes for 20,000 records a region.

    Args:
        records: customers in each region.
        console: where to tell it.

    Raises:
        ClaimFailedError: something is not as said.
        WorkerError: a component does not start.
    """
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="demo-")))
        bars = _progress(console)
        with bars:
            sites = _start(stack, work, bars)
            written = {site.region: _write(site, records, bars) for site in sites}
            seconds = _encrypt(sites, written, bars)
        regions = []
        for site in sites:
            code = site.stop_worker()
            require(code == 0, f"the worker of {site.region} ends with code 0 on SIGTERM, found {code}")
            regions.append(_Region(site, written[site.region], collect(site, written[site.region])))
        _tell_rates(console, regions, records, seconds)
        _tell(console, regions)


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:<42}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
    )


def _start(stack: ExitStack, work: Path, bars: Progress) -> list[Site]:
    task = bars.add_task("Starting authorities, brokers, databases", total=len(_POPULATIONS))
    sites = []
    for region in _POPULATIONS:
        (work / region).mkdir()
        sites.append(stack.enter_context(Site(region, work / region)))
        bars.advance(task)
    return sites


def _write(site: Site, count: int, bars: Progress) -> Records:
    """Produce a region's customers and start its worker, which has them all before it."""
    task = bars.add_task(f"{site.region}: writing customers", total=count)
    people = customers(_POPULATIONS[site.region], count)
    schema_id, written = write(people, TOPIC, site.client, registry=site.region, progress=lambda: bars.advance(task))
    site.schema_id = schema_id
    return written


def _encrypt(sites: list[Site], written: Mapping[str, Records], bars: Progress) -> dict[str, float]:
    """Run every region's worker until all is committed; returns seconds by region, the worker's start included."""
    start = time.monotonic()
    tasks = {}
    for site in sites:
        site.start_worker(site.schema_id)
        total = 2 * len(written[site.region])
        tasks[site.region] = bars.add_task(f"{site.region}: encrypting into topic and table", total=total)
    seconds: dict[str, float] = {}
    while len(seconds) < len(sites):
        late = time.monotonic() - start > _BOUND_S
        logs = "\n".join(site.worker_log[-3000:] for site in sites) if late else ""
        require(not late, f"every record is encrypted within {_BOUND_S:g} s; the workers' logs:\n{logs}")
        for site in sites:
            if site.region in seconds:
                continue
            site.require_worker()
            done = site.progress()
            bars.update(tasks[site.region], completed=done.topic + done.table)
            if done.topic + done.table >= 2 * len(written[site.region]):
                seconds[site.region] = time.monotonic() - start
        time.sleep(0.2)
    return seconds


def _tell_rates(console: Console, regions: list[_Region], records: int, seconds: Mapping[str, float]) -> None:
    console.rule("What was done")
    for each in regions:
        name = each.site.region
        console.print(
            f"{name}: {records:,} customers, each into a topic and a table, {len(ENCRYPTED)} fields encrypted, in "
            f"{seconds[name]:.1f} s: {2 * records / seconds[name]:,.0f} records/s (start of the worker included).",
            highlight=False,
        )
    console.print(
        "Every customer is once in the topic and once in the table; no encrypted field is readable in either."
    )


def _tell(console: Console, regions: list[_Region]) -> None:
    eu, ap = regions
    identity = next(iter(eu.written))
    _tell_row(console, eu, identity)
    schema = compile_schema(SCHEMA, DeclarationOptions()).plan.output_schema
    sample = list(eu.written)[:: max(1, len(eu.written) // _SAMPLE)]
    datums = [eu.output.messages[each] for each in sample]
    with reader(eu.site.env) as mine:
        opened = open_records(mine, datums, schema)
        require(opened == [dict(eu.written[each]) for each in sample], "EU credentials read back what was written")
        _tell_opened(console, opened[0], len(sample))
    with reader(ap.site.env) as other:
        error = expect_refusal(other, _email(eu, identity))
    console.rule("The same e-mail, with AP credentials")
    console.print(error, highlight=False, markup=False)
    _tell_revocation(console, eu, sample[:2])


def _tell_row(console: Console, region: _Region, identity: str) -> None:
    console.rule(f"{identity} as it lies in the topic ({region.site.region})")
    datum = region.output.messages[identity]
    console.print(f"{datum[:96].hex(' ')} ... ({len(datum)} bytes)", highlight=False)
    console.rule("and in the table")
    for name, value in region.output.rows[identity].items():
        shown = f"{value[:40].hex()}... ({len(value)} bytes)" if isinstance(value, bytes) else str(value)
        console.print(f"  {name:<11} {shown}", highlight=False, markup=False)


def _tell_opened(console: Console, record: Mapping[str, object], count: int) -> None:
    console.rule(f"The same row, decrypted with EU credentials (and {count - 1} more, all equal to the input)")
    for name, value in record.items():
        console.print(f"  {name:<11} {value}", highlight=False, markup=False)


def _tell_revocation(console: Console, region: _Region, customers: list[str]) -> None:
    """Read one customer as the second client, delete it, and try another: what was read is readable for a while."""
    console.rule("A client is deleted")
    first, second = (_email(region, each) for each in customers)
    with reader(region.site.env, suffix="_2") as support:
        found = open_email(support, first)
        require(found == region.written[customers[0]]["email"], "the second client reads what the worker wrote")
        console.print(f"Client {region.site.env['CS_CLIENT_ID_2']} reads {found}", highlight=False, markup=False)
        region.site.delete_client(region.site.env["CS_CLIENT_ID_2"])
        error = expect_refusal(support, second)
    console.print("It is deleted at the authority; the next customer's e-mail:", error, highlight=False, markup=False)
    console.print(f"What it has read it may read for at most {CacheOptions().max_age_s:g} s more (docs/sdk.md).")


def _email(region: _Region, identity: str) -> bytes:
    envelope = region.output.rows[identity]["email"]
    require(isinstance(envelope, bytes), "the table's email is an envelope")
    assert isinstance(envelope, bytes)
    return envelope
