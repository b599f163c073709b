"""A plain script that polls: one task for each workflow, which sleeps, asks and reads the answer.

    python3 calm.py BASE_URL WORKFLOWS INTERVAL_SECONDS
"""

import asyncio
import sys

import aiohttp


async def watch(session, url, first, interval):
    loop = asyncio.get_running_loop()
    due = loop.time() + first
    status = None
    while True:
        await asyncio.sleep(due - loop.time())
        async with session.get(url) as response:
            response.raise_for_status()
            body = await response.json()
        if body["workflowStatus"] != status:
            status = body["workflowStatus"]
        if body["isComplete"]:
            return
        due += interval


async def main():
    base_url, workflows, interval = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    async with aiohttp.ClientSession() as session:
        tasks = [
            watch(
                session,
                f"{base_url}/workflows/workflow-{number}",
                interval * number / workflows,
                interval,
            )
            for number in range(workflows)
        ]
        await asyncio.gather(*tasks)


asyncio.run(main())
