"""The report's page without a browser: what it says, what it escapes, its colours, and how bad input ends."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from physgen.check_job import FORMAT
from physgen.cli import app
from physgen.report import write_report
from physgen.space import Block, Coordinate, Space

from .results import NASTY, RECIPE, made_up, nasty, written

VOID = {"meta", "br", "img", "link", "hr", "input"}


class Reader(HTMLParser):
    """Elements, attributes and text of a page; that every element is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [a for t, a in self.elements if t == tag]


def page(folder: Path, result, **options) -> str:
    text = write_report(written(folder, result), **options).read_text(encoding="utf-8")
    return text.replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.parametrize("batch", [(), (1,), (5,), (60,), (3, 4), (20, 25)])
def test_every_shape_of_batch_has_a_page(batch: tuple[int, ...], tmp_path: Path) -> None:
    text = page(tmp_path, made_up(batch))
    reader = Reader(text)
    headings = [t for t, _ in reader.elements if re.fullmatch("h[1-6]", t)]
    levels = [int(h[1]) for h in headings]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in pairwise(levels))
    identifiers = [a["id"] for _, a in reader.elements if "id" in a]
    assert len(set(identifiers)) == len(identifiers)
    for _, attributes in reader.elements:
        for key in ("aria-labelledby", "aria-describedby"):
            assert set((attributes.get(key) or "").split()) <= set(identifiers)
    assert reader.named("html")[0]["lang"] == "en"
    assert all(a.get("scope") in ("col", "row") for a in reader.named("th"))
    assert len(reader.named("caption")) == len(reader.named("table"))
    assert {"header", "main", "nav", "footer"} <= {t for t, _ in reader.elements}
    assert text.count("<svg") > 2
    assert len(text) < 1_000_000
    assert "nan" not in re.sub(r"<style>.*?</style>|<script>.*?</script>", "", text, flags=re.S).lower().split()


def test_numbers_are_those_of_the_draws(tmp_path: Path) -> None:
    result = made_up((), draws=400)
    text = "".join(Reader(page(tmp_path, result)).text)
    draws = result.draws[:, 0].double().numpy()
    low, middle, high = np.quantile(draws, [0.05, 0.5, 0.95])
    assert f"{low:.2f} to {high:.2f}" in text
    assert f"{middle:.2f}" in text


def test_status_and_trust_lead_the_verdict(tmp_path: Path) -> None:
    first = page(tmp_path, made_up())
    assert "The computation succeeded for 4 of 5 observations" in first
    assert "heavy tails (1)" in first
    trust = torch.tensor([0, 3, 3, 5, 0])
    second = page(tmp_path, made_up(stats={"trust": trust}))
    assert "2 of 5 answers (40 %) can be used as they are." in second
    assert "poor fit (2), outside the model (1)" in second


def test_what_is_absent_is_said_with_the_command(tmp_path: Path) -> None:
    text = "".join(Reader(page(tmp_path, made_up())).text)
    assert "Run physgen check RECIPE" in text
    assert "no power-scaling sensitivities" in text
    assert "The prior is not shown behind the posterior. The file carries no recipe." in text
    assert "no verdict of trust" in text


def test_prior_is_rebuilt_from_the_recipe_in_the_file(tmp_path: Path) -> None:
    recipe = """[forward]
model = "my_own:model"
[prior]
model = "independent"
[prior.causes]
lai = { distribution = "Uniform", low = 0.0, high = 15.0 }
angle = { distribution = "Normal", mean = 0.0, sd = 10.0 }
[noise]
model = "gaussian"
absolute = 1.0
"""
    text = page(tmp_path, made_up(provenance={"recipe": recipe}))
    assert 'class="line prior"' in text
    assert ">1 to 14<" in text  # 5 and 95 % of the uniform prior
    assert "a report does not run unasked" in text  # my_own is the author's code
    other = page(tmp_path, made_up(provenance={"recipe": recipe.replace("angle =", "tilt =")}))
    assert "over other causes than the result" in other


def test_code_that_a_recipe_names_runs_only_when_asked_for(tmp_path: Path) -> None:
    (tmp_path / "evil.py").write_text("from pathlib import Path\nPath(__file__).with_name('ran').touch()\n")
    recipe = RECIPE.replace("abel-projection", "evil:model").replace("radii = 12\n", "")
    page(tmp_path, made_up(provenance={"recipe": recipe}))
    assert not (tmp_path / "ran").exists()
    (tmp_path / "recipe.toml").write_text(recipe)
    page(tmp_path, made_up(provenance={"recipe": recipe}), recipe=tmp_path / "recipe.toml")
    assert (tmp_path / "ran").exists()
    (tmp_path / "recipe.toml").write_text(recipe.replace("seed = 3", "seed = 4"))
    with pytest.raises(ValueError, match="is not the one that made"):
        page(tmp_path, made_up(provenance={"recipe": recipe}), recipe=tmp_path / "recipe.toml")


def test_text_of_the_data_stays_text(tmp_path: Path) -> None:
    source = page(tmp_path, nasty())
    reader = Reader(source)
    assert {"img", "b"}.isdisjoint(t for t, _ in reader.elements)
    assert not any(k.startswith("on") for _, a in reader.elements for k in a)
    assert len(reader.named("script")) == 1
    shown = "".join(reader.text)
    for text in NASTY:
        assert text in shown  # told as it is
    assert "49" not in re.findall(r"\d+", shown[shown.find("{{") : shown.find("{{") + 12])


def test_policy_allows_the_one_style_and_script(tmp_path: Path) -> None:
    text = page(tmp_path, made_up())
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    assert "default-src 'none'" in policy[1].replace("&#39;", "'")
    for tag in ("style", "script"):
        (inside,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, flags=re.S)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy[1].replace("&#39;", "'")
    assert " style=" not in text
    assert "http://" not in text
    assert "https://" not in text


def test_causes_along_a_coordinate_and_over_an_image(tmp_path: Path) -> None:
    radius = {"radius": Coordinate("radius", tuple(map(float, range(1, 9))), "um", "radius")}
    causes = Space(
        Block("profile", "um-1", shape=(8,), dims=("radius",), coordinates=radius),
        Block("image", "1", shape=(9, 7), dims=("row", "column")),
    )
    text = page(tmp_path, made_up((2,), causes=causes))
    assert 'class="band band0"' in text
    assert "radius (µm)" in text
    assert "posterior sd" in text
    assert 'class="map map8"' in text


def test_time_map_and_scattered_places(tmp_path: Path) -> None:
    times = np.array(["2018-04-01", "2018-06-01", "2018-09-01"], dtype="datetime64[ns]")
    assert "Over time" in page(tmp_path, made_up((3, 4), dims=("time", "plot"), coords={"time": times}))
    assert "Over the map" in page(tmp_path, made_up((20, 25), dims=("row", "column")))
    rng = np.random.default_rng(0)
    places = {n: ("observation", rng.uniform(0, 9, 90)) for n in ("longitude", "latitude")}
    text = page(tmp_path, made_up((90,), coords=places))
    assert "Over the map" in text
    assert "longitude" in text


def test_calibration_is_found_beside_or_given(tmp_path: Path) -> None:
    check = {"name": "SBC <ranks>", "statistic": None, "p_value": 0.001, "words": "Too narrow. Widen.", "n": 500}
    content = {
        "physgen_calibration": FORMAT,
        "verdict": "1 of 1 checks object (SBC).",
        "passed": False,
        "level": 0.05,
        "checks": [{**check, "adjusted_p_value": 0.001, "parts": {"lai": 0.001}, "figures": {}}],
        "recipe": RECIPE,
    }
    (tmp_path / "calibration.json").write_text(json.dumps(content))
    text = page(tmp_path, made_up(provenance={"recipe": RECIPE}))
    assert "1 of 1 checks object (SBC)." in text
    assert "SBC &lt;ranks&gt;" in text
    assert "1 of 1 checks object" not in page(tmp_path, made_up(provenance={"recipe": "other = 1\n"}))
    other = page(tmp_path, made_up(), check=tmp_path / "calibration.json")
    assert "not made with this very recipe" in other


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_contrast() -> None:
    css = (files("physgen.report") / "templates" / "report.css").read_text()
    schemes = [
        dict(re.findall(r"--(\w+): (#\w{6})", block)) for block in re.findall(r":root \{(.*?)\}", css, flags=re.S)
    ]
    assert len(schemes) == 3  # light, dark, print
    for s in schemes:
        for name in ("ink", "muted", "link"):
            for ground in ("page", "raised"):
                assert contrast(s[name], s[ground]) >= 4.5, (name, ground)
        for name in ("posterior", "prior", "observed", "doubt", "limit"):  # graphics
            assert contrast(s[name], s["page"]) >= 3, name
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") < 4.5


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda f: f.unlink(), "No result at"),
        (lambda f: f.write_bytes(b"no netCDF at all"), "not netCDF, or damaged"),
        (lambda f: f.write_bytes(f.read_bytes()[:4000]), "damaged"),
        (lambda f: _attribute(f, inference_library_version="99.0"), "was written by physgen 99.0"),
        (lambda f: _attribute(f, inference_library="pymc"), "another program or version"),
        (lambda f: _code(f, 77), "holds the status 77"),
    ],
)
def test_bad_results_end_in_two_sentences(spoil, says: str, tmp_path: Path) -> None:
    path = written(tmp_path, made_up())
    spoil(path)
    done = CliRunner().invoke(app, ["report", str(path)])
    assert done.exit_code == 2
    assert says in done.output
    assert done.output.startswith("Error: ")
    assert len(re.findall(r"[.?!](?:\s|$)", done.output.strip())) == 2
    assert not path.with_suffix(".html").exists()


def _attribute(path: Path, **attributes: str) -> None:
    with netCDF4.Dataset(path, "a") as file:
        file.setncatts(attributes)


def _code(path: Path, code: int) -> None:
    with netCDF4.Dataset(path, "a") as file:
        file["sample_stats"]["status"][0] = code


def test_command(tmp_path: Path) -> None:
    path = written(tmp_path, made_up())
    done = CliRunner().invoke(app, ["report", str(path), "--out", str(tmp_path / "page.html")])
    assert done.exit_code == 0
    assert done.output == f"Wrote {tmp_path / 'page.html'}\n"
    nowhere = CliRunner().invoke(app, ["report", str(path), "--out", str(tmp_path / "none" / "page.html")])
    assert nowhere.exit_code == 2
    assert "Cannot write into the folder" in nowhere.output
    itself = CliRunner().invoke(app, ["report", str(path), "--out", str(path)])
    assert itself.exit_code == 2
    assert "would replace the result" in itself.output
    check = CliRunner().invoke(app, ["report", str(path), "--check", str(path)])
    assert check.exit_code == 2
    with netCDF4.Dataset(tmp_path / "other.nc", "w") as file:
        file.createGroup("posterior")
    other = CliRunner().invoke(app, ["report", str(tmp_path / "other.nc")])
    assert other.exit_code == 2
    assert "has no sample_stats and no observed_data" in other.output
