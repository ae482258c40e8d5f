"""Upper limits and impacts in the fit stage of a search."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tnt_coffea import pipeline
from tnt_coffea.config import MassRange, SearchConfig
from tnt_coffea.errors import ConfigError, FitError
from tnt_coffea.products import Histograms
from tnt_coffea.reporting.summary import summary
from tnt_coffea.reporting.wording import cautions
from tnt_coffea.results import SearchResult
from tnt_coffea.stats import AbcdRefusal, ImpactRefusal, LimitResult

ALONE = {"toys": 0, "max_parameters": 3}
"""A bump hunt with one background function: which of several fits best is tested elsewhere."""
NO_SCAN = {"global_over": "none"}


def changed(config: SearchConfig, **sections: dict[str, Any]) -> SearchConfig:
    values = config.model_dump(mode="json")
    for name, section in sections.items():
        where = values if name == "data" else values["fit"]
        where[name] = where.get(name, {}) | section
    return SearchConfig.model_validate(values)


def of_tnt(histograms: Histograms) -> Histograms:
    """Those of one tagger set, where another would be fitted alike."""
    return replace(histograms, hists={"tnt": histograms.hists["tnt"]})


def test_limits_of_every_selection_are_in_the_result(workspace: Path, small_config: Any) -> None:
    stored = SearchResult.load(workspace / "fit" / "result.json")
    assert list(stored.limits) == ["before", "autoencoder", "tnt"]
    before = stored.limits["before"]
    assert isinstance(before, LimitResult)
    assert before.observed > before.mu_hat
    assert before.observed_cross_section is None
    assert "limit, before" in stored.summary()
    assert stored.limit_bands == {}


@pytest.mark.slow
def test_cross_sections_and_bands_come_with_efficiencies_and_a_scan(
    workspace: Path, small_config: Any
) -> None:
    config = changed(
        small_config,
        data={"luminosity": 2.0},
        limit={"efficiencies": {"before": 0.5}, "toys": 0},
        bump=ALONE,
        scan={"masses": [3400.0], "toys": 0},
    )
    result = pipeline.fit(of_tnt(Histograms.load(workspace / "search")), config)
    before = result.limits["before"]
    assert isinstance(before, LimitResult)
    assert before.observed_cross_section == pytest.approx(before.observed)
    assert list(result.limits) == ["before", "tnt"]
    assert list(result.limit_bands) == ["before", "tnt"]
    band = result.limit_bands["before"]
    assert [limit.mass for limit in band] == [3400.0]
    assert all(limit.expected_cross_section is not None for limit in band)
    assert SearchResult.from_dict(json.loads(json.dumps(result.to_dict()))) == result


def test_limits_can_be_left_out_and_impacts_come_with_an_uncertain_signal(
    workspace: Path, small_config: Any
) -> None:
    config = changed(
        small_config,
        limit={"enabled": False},
        bump={"width_uncertainty": 0.1, **ALONE},
        scan=NO_SCAN,
    )
    result = pipeline.fit(of_tnt(Histograms.load(workspace / "search")), config)
    assert result.limits == {}
    assert result.impacts["before"][0].name == "signal_width"
    assert SearchResult.load(workspace / "fit" / "result.json").impacts == {}


@pytest.mark.slow
def test_impacts_that_cannot_be_had_say_why(workspace: Path, small_config: Any) -> None:
    # Two selected events lie above 5 TeV, both in one fold.
    window = MassRange(low=5000.0, high=6000.0)
    search = small_config.search.model_copy(update={"window": window})
    config = changed(
        small_config.model_copy(update={"search": search}),
        limit={"enabled": False},
        bump={"width_uncertainty": 0.1, "toys": 0, "max_parameters": 6},
        scan=NO_SCAN,
    )
    assert config.signal_mass == 5500
    unknown = replace(of_tnt(Histograms.load(workspace / "search")), made_with={})  # other window
    result = pipeline.fit(unknown, config)
    refused = result.impacts["tnt"]
    assert isinstance(refused, ImpactRefusal)
    assert "too few events under the signal for impacts" in refused.reason
    assert not isinstance(result.impacts["before"], ImpactRefusal)
    assert f"impacts, tnt\nimpacts on the signal: refused\n  {refused.reason}" in result.summary()
    assert SearchResult.from_dict(json.loads(json.dumps(result.to_dict()))) == result


def test_efficiency_of_an_unknown_set_is_refused(workspace: Path, small_config: Any) -> None:
    config = changed(small_config, data={"luminosity": 2.0}, limit={"efficiencies": {"cwola": 0.5}})
    with pytest.raises(ConfigError, match="names cwola: known are before, autoencoder, tnt"):
        pipeline.fit(Histograms.load(workspace / "search"), config)


def test_abcd_of_scores_of_the_whole_event_is_not_defined(
    workspace: Path, small_config: Any
) -> None:
    histograms = Histograms.load(workspace / "search")
    scored = histograms.hists["tnt"].copy()
    view = scored.view()
    # The pass fills one score into both axes: all events lie on the diagonal.
    heavy, light = np.indices(view.shape[-2:])
    view.value[..., heavy != light] = 0
    view.variance[..., heavy != light] = 0
    config = changed(small_config, limit={"enabled": False}, bump=ALONE, scan=NO_SCAN)
    result = pipeline.fit(replace(histograms, hists={"tnt": scored}), config)
    refusal = result.abcd["tnt"]
    assert isinstance(refusal, AbcdRefusal)
    assert refusal.reason.startswith("not defined for scores of the whole event")
    assert (
        "ABCD with tnt (knows beside the data: none)\nABCD refused: not defined" in result.summary()
    )
    assert SearchResult.from_dict(json.loads(json.dumps(result.to_dict()))) == result


def test_spectrum_that_cannot_be_fitted_leaves_the_others(
    workspace: Path, small_config: Any
) -> None:
    histograms = Histograms.load(workspace / "search")
    empty = histograms.hists["tnt"].copy()
    empty.view().value[...] = empty.view().variance[...] = 0
    config = changed(
        small_config,
        limit={"toys": 0},
        bump=ALONE,
        scan={"masses": [3400.0], "toys": 0},
    )
    result = pipeline.fit(
        replace(histograms, hists={"autoencoder": histograms.hists["autoencoder"], "tnt": empty}),
        config,
    )
    assert list(result.after) == ["autoencoder"]
    assert list(result.scans) == list(result.limits) == ["before", "autoencoder"]
    refusal = result.refusals[0]
    assert (refusal.test, refusal.selection) == ("bump hunt", "tnt")
    assert "0 of" in refusal.reason
    assert "too few" in refusal.reason
    assert refusal.summary() in result.summary()
    assert SearchResult.from_dict(json.loads(json.dumps(result.to_dict()))) == result
    rows = [row for row in summary(result, config).rows if row.calibration == "refused"]
    assert ("bump hunt", "tnt") in [(row.test, row.selection) for row in rows]
    assert f"The bump hunt with tnt was refused: {refusal.reason}." in cautions(result, {})


def test_search_whose_dijets_cannot_be_fitted_has_no_result(
    workspace: Path, small_config: Any
) -> None:
    histograms = Histograms.load(workspace / "search")
    empty = histograms.hists["tnt"].copy()
    empty.view().value[...] = empty.view().variance[...] = 0
    with pytest.raises(FitError, match="too few"):
        pipeline.fit(replace(histograms, hists={"tnt": empty}), small_config)
