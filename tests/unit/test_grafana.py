"""The Grafana dashboard is one that Grafana takes; that its metrics are real is in tests/service/test_metrics.py."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

DASHBOARD = json.loads((Path(__file__).parents[2] / "scripts" / "grafana-dashboard.json").read_text(encoding="utf-8"))
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]


def test_the_data_source_is_chosen_where_it_is_imported() -> None:
    (chosen,) = [one for one in DASHBOARD["templating"]["list"] if one["type"] == "datasource"]
    assert chosen["query"] == "prometheus"
    for panel in PANELS:
        for asked in [panel, *panel["targets"]] if panel["type"] != "row" else []:
            assert asked["datasource"] == {"type": "prometheus", "uid": f"${{{chosen['name']}}}"}, panel["title"]


def test_every_panel_has_its_own_id_title_and_place() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    assert len({panel["title"] for panel in PANELS}) >= len(PANELS) - 2  # of rows and nodes some have the same
    taken: set[tuple[int, int]] = set()
    for panel in PANELS:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x, y in itertools.product(
                range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
            )
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_every_panel_that_is_no_row_asks_for_something() -> None:
    for panel in PANELS:
        assert panel["type"] == "row" or all(target["expr"] for target in panel["targets"]), panel["title"]
