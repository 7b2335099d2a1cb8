"""Take the pictures of the pages, in docs/, from the demo's run: `make screenshots`, after `make demo`."""

import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
STORE = ROOT / "demo-output"
PORT = 5099
BASE = f"http://127.0.0.1:{PORT}"
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--force-color-profile=srgb"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


def main() -> None:
    """Serve the demo's store, and take each picture."""
    if not (STORE / "mlflow.db").exists():
        sys.exit("There is no run of the demo yet: run `make demo` first.")
    client = mlflow.MlflowClient(f"sqlite:///{STORE / 'mlflow.db'}")
    experiments = [each.experiment_id for each in client.search_experiments()]
    [run] = client.search_runs(experiments, "tags.`timelapse.schema` LIKE '%'", max_results=1)
    run_id, experiment = run.info.run_id, run.info.experiment_id
    with served(), sync_playwright() as playwright:
        program = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)

        def take(name: str, address: str, text: str, theme: str = "light", height: int = 860) -> None:
            page = browser.new_page(
                viewport={"width": 1320, "height": height},
                color_scheme=theme,  # type: ignore[arg-type]
                device_scale_factor=1.5,
            )
            page.goto(f"{BASE}{address}")
            wait_for(page, text)
            page.screenshot(path=ROOT / "docs" / f"{name}.png")
            page.close()

        take("run-page", f"/timelapse/runs/{run_id}#step=12", "Predictions at step")
        take("run-page-dark", f"/timelapse/runs/{run_id}#step=12", "Predictions at step", "dark")
        take("compare-page", f"/timelapse/compare?run={run_id}@6&run={run_id}@18", "Scoreboard")
        take("mlflow-tab", f"/#/experiments/{experiment}/runs/{run_id}?predictions=1", "Predictions at step")
        browser.close()


def wait_for(page: Page, text: str) -> None:
    """Wait until a text is visible, in the page or in a frame of it, and everything has settled."""
    end = time.monotonic() + 60
    while not any(frame.get_by_text(re.compile(text)).first.is_visible() for frame in page.frames):
        if time.monotonic() > end:
            sys.exit(f"'{text}' did not appear at {page.url}")
        page.wait_for_timeout(200)
    page.wait_for_timeout(1500)


@contextmanager
def served() -> Iterator[None]:
    """Run MLflow's server with the pages on the demo's store."""
    command = [sys.executable, "-m", "mlflow", "server", "--app-name", "timelapse", "--workers", "1"]
    command += ["--host", "127.0.0.1", "--port", str(PORT)]
    command += ["--backend-store-uri", f"sqlite:///{STORE / 'mlflow.db'}"]
    settings = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with subprocess.Popen(
        command, env=settings, cwd=STORE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        try:
            end = time.monotonic() + 120
            while not is_up():
                if server.poll() is not None or time.monotonic() > end:
                    sys.exit("MLflow's server does not start.")
                time.sleep(0.5)
            yield
        finally:
            server.terminate()


def is_up() -> bool:
    """Return whether the server answers."""
    try:
        urllib.request.urlopen(f"{BASE}/health", timeout=5).close()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main()
