"""The whole loop on one machine under `kill -9`: does it end where an undisturbed one would?

A reduced tiny resource runs with real vLLM, Ray, DeepSpeed and a directory store. Two proposers and an aggregator are
served here and reach the run as endpoints, so that they outlive a killed runner; the student is served by the runner.
Kills come at random times from a fixed seed. What is then checked, each a verdict of its own:

- kills: as many as asked for were made, and every kind at least once.
- finished: `moaa run` ended with 0 and every stage of the graph has its manifest.
- rows: every table has each input row exactly once, less the failures its manifest counts, in the order that follows
  from the tables of an undisturbed stage-data.
- calls: no request reached a server after an answer to it was durable, and every durable answer was asked for.
- replay: with manifests taken away, the ledgers alone give the same tables, and no server is asked.
- orphans: all that ran below a killed runner ended in time; at the end nothing of the soak is left.
- idempotent: another `moaa run` ends with 0, starts no stage and changes no object of the store.
- zombie: a job that slept (SIGSTOP) while another attempt finished its stage ends as fenced and changes no object.

**How calls are counted.** Inside every vLLM server, teachers' and students' alike, by a middleware
(`benchmarks.soak.counting`) that writes each request to a file before the server sees it: what a kill cuts off is
counted too, and nothing stands between client and server. A request belongs to a ledger entry when its canonical hash
under the entry's row and path is the entry's key. An entry is durable from the change time of its segment on (the link
that gave the segment its name); a compaction makes that later, so it can hide a repetition but never invent one.
"""
