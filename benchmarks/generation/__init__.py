"""How near generation comes to what its model servers could do, measured on servers that only keep an engine's time.

    python -m benchmarks.generation [--small] [--whole] [--only PART …] [--write]

A cell is one fleet and one client. The servers (`server`, a process of its own) speak the OpenAI API and answer when
an engine with continuous batching would have (`engine`). The client is the real stage: `python -m moaa_jobs` with its
ledger (`job`), or a bare aiohttp loop over the same rows (`bare`). The ideal is the same engines in virtual time,
asked by a client that needs no time and sends everything at once (`ideal`). Our pool and pace of rows run in virtual
time, too (`policy`): that says what limits and windows cost, on however busy a machine. Requests are equal in all of
them, seeds included, and an answer's length is drawn from its request, so that each cell and its ideal have the same
work to do.

A compressed run ramps up and drains for much of its time; a real one for little. So two figures are told: the whole,
first request to last answer, and the middle half, from a quarter to three quarters of the rows.
"""
