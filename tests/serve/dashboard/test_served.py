"""The dashboard of a whole service, from its bundle to its pages."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from fastapi.testclient import TestClient

from salus.data import load
from salus.serve.app import create_app
from salus.serve.guards import sources_of
from salus.serve.monitoring import look_at
from salus.serve.service import Service
from salus.serve.settings import Settings


def test_what_a_service_judges_is_seen_on_its_dashboard(table_bundle: Path, tmp_path: Path) -> None:
    settings = Settings(data_folder=tmp_path / "data", key_file=tmp_path / "keys" / "key.pem", keep_inputs=True)
    service = Service.open(settings, sources_of([f"patients={table_bundle}"]), "the-code")
    with TestClient(create_app(service), base_url="http://localhost") as client:
        x = torch.cat([load("breast-cancer").test.x[:20], torch.rand(20, 30)])
        answer = client.post("/v1/guards/patients/verdicts", json={"inputs": x.tolist(), "prepared": True})
        assert answer.status_code == 200
        assert client.get("/dashboard/", follow_redirects=False).status_code == 303
        overview = client.get("/dashboard/login?code=the-code")  # a redirect leads on
        assert overview.status_code == 200
        assert "script-src 'self'" in overview.headers["content-security-policy"]
        assert overview.headers["referrer-policy"] == "same-origin"
        assert "The last 15 verdicts" in overview.text
        rejected = re.search(r'id="verdict-(\d+)"', client.get("/dashboard/verdicts?outcome=rejected").text)
        assert rejected is not None
        page = client.get(f"/dashboard/verdicts/{rejected[1]}").text
        assert "mean radius" in page  # in its own unit, through the bundle's preprocessor
        assert "the hash fits" in page
        assert client.get("/dashboard/guards/patients").status_code == 200
        service.recorder.write()
        with service.database.reading() as connection:
            served = service.guards["patients"]
            minute = int(served.loaded // 60)
            look = look_at(connection, "patients", served, 60, minute + 1)
        assert look.counts.judged == 40
        assert list(look.counts.inputs)[:2] == ["mean radius", "mean texture"]
