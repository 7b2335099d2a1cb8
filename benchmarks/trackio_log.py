"""The peer of bench_write: how long `trackio.log` of one table takes. Runs in an environment of its own.

Prints the median in milliseconds. Trackio's `log` is not durable: it hands the table to a thread.
"""

import os
import statistics
import sys
import time

folder, table_file, rounds, pause = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
os.environ["TRACKIO_DIR"] = folder
os.environ["HOME"] = folder

import pandas as pd  # noqa: E402
import trackio  # noqa: E402

frame = pd.read_json(table_file)
trackio.init(project="peer")
times = []
for step in range(rounds):
    time.sleep(pause)
    began = time.perf_counter()
    trackio.log({"predictions": trackio.Table(dataframe=frame)}, step=step)
    times.append(time.perf_counter() - began)
trackio.finish()
print(f"median_ms={statistics.median(times) * 1000:.3f}")
