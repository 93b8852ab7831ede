"""The script with a patient function, as a process of its own."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from tests.examples.payments import Payments
from tests.examples.running import PATIENCE, ROOT


async def test_a_script_waits_out_an_outage(tmp_path: Path) -> None:
    """Every order is charged once and in order, though the service is down when the script begins."""
    orders = [f"order {number}" for number in range(20)]
    (tmp_path / "orders.txt").write_text("\n".join(orders))
    async with Payments() as payments:
        payments.is_up = False
        script = await asyncio.create_subprocess_exec(
            sys.executable,
            "examples/patient_script.py",
            str(tmp_path / "orders.txt"),
            cwd=ROOT,
            env={**os.environ, "PAYMENTS_HOST": payments.host},
        )
        async with asyncio.timeout(PATIENCE):
            while payments.refused < 2:
                await asyncio.sleep(0.05)
            payments.is_up = True
            assert await script.wait() == 0
    assert [body.decode() for body in payments.charged] == orders
