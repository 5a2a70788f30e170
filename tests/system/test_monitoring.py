"""The dashboard, the alert rules and the autoscaler's rule, against what a running issuer tells."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import promql_parser as promql
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from system.deployment import AUDIENCE, Deployment
from system.observing import exposition
from system.running import threads_client

if TYPE_CHECKING:
    from collections.abc import Iterator

DEPLOY = Path(__file__).parents[2] / "deploy"
OF_TARGETS = {"instance", "job", "namespace", "pod"}
"""Labels that Prometheus adds to what it scrapes."""
CUMULATIVE = ("_total", "_bucket", "_count", "_sum")


class Told(NamedTuple):
    """What an issuer tells: the labels of each series by the name of the metric."""

    series: dict[str, list[dict[str, str]]]

    def labels(self, name: str) -> set[str]:
        return set(self.series[name][0]) | OF_TARGETS


class Use(NamedTuple):
    """A metric in a query: its matchers, the functions around it, and the labels asked of it."""

    name: str
    matchers: list[Any]
    functions: list[str]
    by: list[set[str]]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """What it tells once everything that is counted has happened."""
    folder = tmp_path_factory.mktemp("issuer")
    deployment = Deployment(folder)
    audited = {"EPHEMERA_AUDIT": f"file:{folder / 'audit'}", "EPHEMERA_AUDIT_BEFORE_ANSWER": "true"}
    with deployment.start(**audited) as service, threads_client(1) as http:

        def post(form: dict[str, str], **more: Any) -> int:
            return http.post(f"{service.url}/oauth2/token", data=form, **more).status_code

        assert deployment.ask(http, service.url).status_code == 200
        used = deployment.form()
        assert [post(used), post(used)] == [200, 401]
        refused = {"grant_type": "client_credentials", "resource": AUDIENCE, "scope": "admin"}
        assert post(refused, auth=("reports", deployment.secret)) == 400
        text = exposition(service)
        assert service.stop() == 0
    series = defaultdict(list)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            series[sample.name].append(sample.labels)
    return Told(series)


def uses(query: Any, functions: tuple[str, ...] = (), by: tuple[Any, ...] = ()) -> Iterator[Use]:
    """Walk a parsed query down to its metrics."""
    match query:
        case promql.AggregateExpr():
            labels = {*query.modifier.labels} if query.modifier else set()
            if query.modifier:
                assert query.modifier.type == promql.AggModifierType.By
            yield from uses(query.expr, functions, (*by, labels))
        case promql.Call():
            for argument in query.args:
                yield from uses(argument, (*functions, query.func.name), by)
        case promql.BinaryExpr():
            yield from uses(query.lhs, functions, by)
            yield from uses(query.rhs, functions, by)
        case promql.ParenExpr() | promql.UnaryExpr():
            yield from uses(query.expr, functions, by)
        case promql.MatrixSelector():
            yield from uses(query.vector_selector, functions, by)
        case promql.VectorSelector():
            yield Use(query.name or "", query.matchers.matchers, [*functions], [*by])
        case promql.NumberLiteral():
            pass
        case _:
            raise AssertionError(f"a query that nobody has thought of: {query!r}")


def check(query: str, told: Told) -> set[str]:
    """Hold a query against what there is; the names of its metrics."""
    found = list(uses(promql.parse(query)))
    for use in found:
        assert use.name in told.series, f"{query}: there is no {use.name}"
        labels = told.labels(use.name)
        for asked in use.by:
            assert asked <= labels, f"{query}: {use.name} has no {asked - labels}"
        for matcher in use.matchers:
            assert matcher.name in labels, f"{query}: {use.name} has no {matcher.name}"
        assert any(matches(use, series) for series in told.series[use.name]), query
        rated = bool({"rate", "increase"} & {*use.functions})
        assert rated == use.name.endswith(CUMULATIVE), f"{query}: is {use.name} a counter?"
        assert ("histogram_quantile" in use.functions) == use.name.endswith("_bucket"), query
        if use.name.endswith("_bucket"):
            assert all("le" in asked for asked in use.by), query
    return {use.name for use in found}


def matches(use: Use, series: dict[str, str]) -> bool:
    """Whether a series is among those that the matchers ask for."""
    outcomes = []
    for matcher in use.matchers:
        if matcher.name in OF_TARGETS:
            continue
        value = series[matcher.name]
        kind = str(matcher.op)
        equal = value == matcher.value
        like = re.fullmatch(matcher.value, value) is not None
        outcomes.append(
            {
                "MatchOp.Equal": equal,
                "MatchOp.NotEqual": not equal,
                "MatchOp.Re": like,
                "MatchOp.NotRe": not like,
            }[kind]
        )
    return all(outcomes)


def dashboard() -> dict[str, Any]:
    document: dict[str, Any] = json.loads((DEPLOY / "grafana/ephemera.json").read_text())
    return document


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((DEPLOY / "prometheus/alerts.yaml").read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def test_each_query_of_the_dashboard_asks_for_what_there_is(told: Told) -> None:
    document = dashboard()
    asked: set[str] = set()
    for panel in document["panels"]:
        for target in panel.get("targets", []):
            query = target["expr"].replace("$__rate_interval", "5m")
            assert "$" not in query
            asked |= check(query, told)
            shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            for name in re.findall(r"ephemera_\w+", query):
                assert shown <= told.labels(name), target["legendFormat"]
    assert "ephemera_mints_total" in asked


@pytest.mark.parametrize(
    "query",
    [
        "rate(ephemera_mints[5m])",
        "ephemera_mints_total",
        "rate(ephemera_workers[5m])",
        "sum by (colour) (rate(ephemera_mints_total[5m]))",
        'rate(ephemera_mints_total{colour="red"}[5m])',
        'rate(ephemera_mints_total{client="nobody"}[5m])',
        'rate(ephemera_assertion_claims_total{outcome="lost"}[5m])',
        "histogram_quantile(1, sum(rate(ephemera_token_request_duration_seconds_bucket[5m])))",
        "rate(ephemera_token_request_duration_seconds_bucket[5m])",
    ],
)
def test_a_query_for_what_there_is_not_is_found(told: Told, query: str) -> None:
    with pytest.raises(AssertionError):
        check(query, told)


def test_the_dashboard_shows_every_metric_that_there_is(told: Told) -> None:
    queries = [
        target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", [])
    ]
    shown = set(re.findall(r"ephemera_\w+", " ".join(queries)))
    assert {re.sub(r"_(bucket|count|sum)$", "", name) for name in told.series} == {
        re.sub(r"_bucket$", "", name) for name in shown
    }


def test_no_two_panels_lie_on_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    ids = [panel["id"] for panel in dashboard()["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {
            (place["x"] + column, place["y"] + line)
            for column in range(place["w"])
            for line in range(place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_each_alert_asks_for_what_there_is_and_says_what_to_do(told: Told) -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    for rule in rules():
        expression = rule["expr"]
        check(expression, told)
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert set(rule["annotations"]) == {"summary", "description"}
        words = " ".join(rule["annotations"].values())
        kept = set(re.findall(r"\$labels\.(\w+)", words))
        for use in uses(promql.parse(expression)):
            for asked in use.by[:1]:
                assert kept <= asked, rule["alert"]
        if "for" in rule:
            assert re.fullmatch(r"[0-9]+[sm]", rule["for"])


def test_the_page_names_every_alert() -> None:
    page = (DEPLOY.parent / "docs/observability.md").read_text()
    assert set(re.findall(r"`(Ephemera\w+)`", page)) == {rule["alert"] for rule in rules()}


def test_the_page_names_every_metric(told: Told) -> None:
    page = (DEPLOY.parent / "docs/observability.md").read_text()
    named = set(re.findall(r"^\| `(ephemera_\w+)`", page, re.MULTILINE))
    assert named == {re.sub(r"_(bucket|count|sum)$", "", name) for name in told.series}


def test_the_autoscalers_rule_makes_a_rate_of_the_mints_of_each_pod(told: Told) -> None:
    (rule,) = yaml.safe_load((DEPLOY / "prometheus/adapter.yaml").read_text())["rules"]
    assert re.fullmatch(rule["name"]["matches"], "ephemera_mints_total")
    assert rule["name"]["as"] == "ephemera_mints_per_second"
    series = promql.parse(rule["seriesQuery"])
    assert isinstance(series, promql.VectorSelector)
    assert {matcher.name for matcher in series.matchers.matchers} == {
        *rule["resources"]["overrides"]
    }
    query = (
        rule["metricsQuery"]
        .replace("<<.Series>>", series.name)
        .replace("<<.LabelMatchers>>", 'namespace="tokens",pod=~"issuer-0|issuer-1"')
        .replace("<<.GroupBy>>", "pod")
    )
    assert check(query, told) == {"ephemera_mints_total"}
