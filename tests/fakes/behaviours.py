"""How servers that speak the chat completions API behave, and what must come of it. The words imitate vendors'.

`MAX_TOKENS` is what every request allows; "told" usage is 7 and 3 tokens.
"""

from typing import Any

from tests.fakes.model_server import Answered, Behaviour, Ended, Exchange, Failed, completion, error, inside

MAX_TOKENS = 16
FINE = completion("fine")
CUT = Answered("fine", cut=True)
WHOLE = Answered("fine")
FULL = {"prompt_tokens": 7, "completion_tokens": MAX_TOKENS}
LONG = "word " * 200


def _ends(reason: object, outcome: Answered | Failed, **more: Any) -> Behaviour:
    return Behaviour(
        f"ends with {reason!r} {more or ''}".strip(), (completion("fine", finish=reason, **more),), outcome
    )


REFUSED = Failed("refused", "filter", tokens=(7, 3))

ENDINGS = (
    *(_ends(word, WHOLE) for word in ("stop", "STOP", "eos", "eos_token", "end_turn", "stop_sequence", "COMPLETE")),
    *(_ends(word, CUT) for word in ("length", "MAX_TOKENS", "max_output_tokens", "model_length", "incomplete")),
    *(_ends(word, REFUSED) for word in ("content_filter", "SAFETY", "RECITATION", "PROHIBITED_CONTENT")),
    _ends(None, WHOLE),
    _ends("absent", WHOLE),
    _ends(None, Answered("fine", cut=True, tokens=(7, 16)), usage=FULL),
    _ends("absent", Answered("fine", cut=True, tokens=(7, 16)), usage=FULL),
    _ends("whatever", WHOLE),
    _ends("whatever", Answered("fine", cut=True, tokens=(7, 16)), usage=FULL),
    _ends(1, WHOLE),
    # The server says that the model ended it: its word counts, also at the very limit.
    _ends("stop", Answered("fine", tokens=(7, 16)), usage=FULL),
    Behaviour(
        "says neither how it ended nor how long it is, and could be cut",
        (completion(LONG, finish=None, usage=None),),
        Answered(LONG.strip(), cut=True, tokens=None),
    ),
    Behaviour(
        "says neither how it ended nor how long it is, and is short",
        (completion("fine", finish="absent", usage="absent"),),
        Answered("fine", tokens=None),
    ),
    Behaviour("aborts once", (completion("half", finish="abort"), FINE), WHOLE, asked=2),
    Behaviour("lacks resources once", (completion("", finish="insufficient_system_resource"), FINE), WHOLE, asked=2),
    Behaviour(
        "always breaks answers off",
        (completion("half", finish="error"),),
        Failed("server-error", "finish_reason 'error'", remembered=False),
        asked=3,
    ),
    Behaviour(
        "calls a tool",
        (completion(None, finish="tool_calls", tool_calls=[{"id": "1"}]),),
        Failed("empty-answer", "called a tool", tokens=(7, 3)),
    ),
    Behaviour(
        "says something and calls a tool",
        (completion("Let me look.", finish="tool_calls", tool_calls=[{"id": "1"}]),),
        Failed("empty-answer", "called a tool", tokens=(7, 3)),
    ),
)

USAGE = (
    Behaviour("no usage", (completion("fine", usage="absent"),), Answered("fine", tokens=None)),
    Behaviour("usage null", (completion("fine", usage=None),), Answered("fine", tokens=None)),
    Behaviour("usage empty", (completion("fine", usage={}),), Answered("fine", tokens=None)),
    Behaviour(
        "usage negative",
        (completion("fine", usage={"prompt_tokens": -1, "completion_tokens": 3}),),
        Answered("fine", tokens=None),
    ),
    Behaviour(
        "usage as fractions",
        (completion("fine", usage={"prompt_tokens": 7.0, "completion_tokens": 3.0}),),
        WHOLE,
    ),
    Behaviour(
        "thoughts counted apart, in the total only",
        (completion("fine", usage={"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 110}),),
        Answered("fine", tokens=(7, 103)),
    ),
)

CONTENT = (
    Behaviour(
        "content in parts", (completion([{"type": "text", "text": "fi"}, {"type": "text", "text": "ne"}]),), WHOLE
    ),
    Behaviour("content in bare parts", (completion(["fi", {"text": "ne"}]),), WHOLE),
    Behaviour(
        "a thought among the parts",
        (
            completion(
                [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
                    {"type": "text", "text": "fine"},
                ]
            ),
        ),
        Answered("fine", "hm"),
    ),
    Behaviour(
        "a picture among the parts",
        (completion([{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": "x"}}]),),
        Failed("empty-answer", "image_url", tokens=(7, 3)),
    ),
    Behaviour("white space around", (completion("\n\n fine \n"),), WHOLE),
    Behaviour("empty", (completion(""),), Failed("empty-answer", "without text", tokens=(7, 3))),
    Behaviour("blank", (completion(" \n"),), Failed("empty-answer", "without text", tokens=(7, 3))),
    Behaviour("null", (completion(None),), Failed("empty-answer", "without text", tokens=(7, 3))),
    Behaviour(
        "null for want of tokens", (completion(None, finish="length"),), Failed("empty-answer", "length", tokens=(7, 3))
    ),
    Behaviour("a refusal", (completion(None, refusal="I cannot."),), Failed("refused", "I cannot.", tokens=(7, 3))),
    Behaviour("a refusal that is null", (completion("fine", refusal=None),), WHOLE),
    Behaviour("half a character", (completion("bad \ud83d"),), Failed("broken-text", "character 5", tokens=(7, 3))),
    Behaviour("a whole pair", (completion("good \U0001f600"),), Answered("good \U0001f600")),
    Behaviour("half a character thought", (completion("fine", reasoning="x\udc00"),), Answered("fine", "x?")),
    Behaviour("keep-alive blanks before", (Exchange(b"\n\n  \n" + FINE.response().body),), WHOLE),  # type: ignore[operator]
)

THOUGHTS = (
    Behaviour("a whole thought", (completion("<think>\nhm\n</think>\n\nfine"),), Answered("fine", "hm")),
    Behaviour("an empty thought", (completion("<think>\n\n</think>\n\nfine"),), WHOLE),
    Behaviour("a thought that the prompt opened", (completion("hm\n</think>\n\nfine"),), Answered("fine", "hm")),
    Behaviour(
        "a thought that never ends",
        (completion("<think>\nhm and", finish="length"),),
        Failed("empty-answer", "gave no answer", tokens=(7, 3), thought="hm and"),
    ),
    Behaviour(
        "channels",
        (
            completion(
                "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>fine<|return|>"
            ),
        ),
        Answered("fine", "hm"),
    ),
    Behaviour("channels without their marks", (completion("analysishm.assistantfinalfine"),), Answered("fine", "hm.")),
    Behaviour(
        "a thought in a channel that never ends",
        (completion("<|channel|>analysis<|message|>hm and", finish="length"),),
        Failed("empty-answer", "gave no answer", tokens=(7, 3), thought="hm and"),
    ),
    Behaviour("two thoughts", (completion("<think>a</think><think>b</think>fine"),), Answered("fine", "a\n\nb")),
    Behaviour("a thought in capitals", (completion("[THINK]hm[/THINK]fine"),), Answered("fine", "hm")),
    Behaviour("reasoning_content", (completion("fine", reasoning_content="hm"),), Answered("fine", "hm")),
    Behaviour("reasoning", (completion("fine", reasoning="hm"),), Answered("fine", "hm")),
    Behaviour("reasoning that is null", (completion("fine", reasoning=None, reasoning_content=None),), WHOLE),
    Behaviour(
        "reasoning twice",
        (completion("fine", reasoning="hm", reasoning_details=[{"type": "reasoning.text", "text": "hm"}]),),
        Answered("fine", "hm"),
    ),
    Behaviour(
        "reasoning and nothing else",
        (completion(None, reasoning_content="hm", finish="length"),),
        Failed("empty-answer", "raise maxTokens", tokens=(7, 3), thought="hm"),
    ),
    Behaviour(
        "an answer about the tags",
        (completion("R1 opens with `<think>` and ends with `</think>`."),),
        Answered("R1 opens with `<think>` and ends with `</think>`."),
    ),
    Behaviour(
        "a cut answer after a thought",
        (completion("<think>hm</think>fine", finish="length"),),
        Answered("fine", "hm", cut=True),
    ),
)

INSIDE = (
    Behaviour("200 with a busy server inside", (inside(code=429, message="slow down"), FINE), WHOLE, asked=2),
    Behaviour("200 with a failed server inside", (inside(code=502, message="upstream"), FINE), WHOLE, asked=2),
    Behaviour("200 with words only inside", (Exchange({"error": "try again"}), FINE), WHOLE, asked=2),
    Behaviour("200 with a code in words", (inside(code="rate_limit_exceeded", message="x"), FINE), WHOLE, asked=2),
    Behaviour("200 with a bad key inside", (inside(code=401, message="No auth"),), Ended("No auth")),
    Behaviour("200 with no credit inside", (inside(code="402", message="add credits"),), Ended("add credits")),
    Behaviour(
        "200 with a long prompt inside",
        (inside(code="context_length_exceeded", type="invalid_request_error", message="x"),),
        Failed("context-length", "x"),
    ),
    Behaviour(
        "200 with a moderated prompt inside",
        (inside(code=403, message="The input was flagged", metadata={"reasons": ["violence"]}),),
        Failed("refused", "flagged"),
    ),
    Behaviour("200 with a bad request inside", (inside(code=400, message="what?"),), Failed("bad-request", "what?")),
    Behaviour(
        "200 with object error",
        (Exchange({"object": "error", "code": 400, "message": "what?"}),),
        Failed("bad-request", "what?"),
    ),
    Behaviour(
        "an error in the choice",
        (completion("ha", finish="error", choice={"error": {"code": 502, "message": "upstream died"}}), FINE),
        WHOLE,
        asked=2,
    ),
    Behaviour("an error that is null", (Exchange({**FINE.body, "error": None}),), WHOLE),  # type: ignore[dict-item]
    Behaviour(
        "no choices because of a filter",
        (
            Exchange(
                {"choices": [], "prompt_filter_results": [{"content_filter_results": {"hate": {"filtered": True}}}]}
            ),
        ),
        Failed("refused", "filter"),
    ),
    Behaviour(
        "no choices because of a block",
        (Exchange({"choices": None, "promptFeedback": {"blockReason": "SAFETY"}}),),
        Failed("refused", "filter"),
    ),
    Behaviour("no choices once", (Exchange({"choices": []}), FINE), WHOLE, asked=2),
    Behaviour("a page of a proxy once", (Exchange(b"<html>502</html>"), FINE), WHOLE, asked=2),
    Behaviour("a document cut short once", (Exchange(b'{"choices": [{"mess'), FINE), WHOLE, asked=2),
    Behaviour("brackets without end once", (Exchange(b"[" * 100_000), FINE), WHOLE, asked=2),
    Behaviour("a list once", (Exchange([]), FINE), WHOLE, asked=2),
    Behaviour("no message once", (Exchange({"choices": [{"text": "fine"}]}), FINE), WHOLE, asked=2),
)

ACCOUNTS = (
    Behaviour("401", (error(401, "Incorrect API key provided"),), Ended("Incorrect API key")),
    Behaviour("402", (error(402, "Payment required"),), Ended("Payment required")),
    Behaviour("403 of a region", (error(403, "Country not supported"),), Ended("Country not supported")),
    Behaviour("400 of a bad key", (error(400, "API key not valid. Please pass a valid API key."),), Ended("not valid")),
    Behaviour("400 of no credit", (error(400, "Your credit balance is too low"),), Ended("credit balance")),
    Behaviour("400 of a pause", (error(400, "The endpoint is paused, ask a maintainer"),), Ended("is paused")),
    Behaviour("400 of an account", (error(400, "This organization has been disabled."),), Ended("has been disabled")),
    Behaviour("429 of no quota", (error(429, "You have no quota", code="insufficient_quota"),), Ended("no quota")),
    Behaviour("404 of a model", (error(404, "The model `x` does not exist"),), Ended("does not exist")),
    Behaviour("400 of a model", (error(400, "x is not a valid model ID"),), Ended("not a valid model")),
    Behaviour("a redirect", (Exchange({}, 307, {"Location": "https://login.example"}),), Ended("307")),
)

ONE_ROW = (
    Behaviour("400 of a filter", (error(400, "no", code="content_filter"),), Failed("refused", "no")),
    Behaviour("400 of a policy", (error(400, "violates our usage policies"),), Failed("refused", "usage policies")),
    Behaviour(
        "400 of inappropriate content",
        (error(400, "Input may contain inappropriate content"),),
        Failed("refused", "inappropriate"),
    ),
    Behaviour("403 of moderation", (error(403, "Your input was flagged by moderation"),), Failed("refused", "flagged")),
    Behaviour("451", (error(451, "not here"),), Failed("refused", "not here")),
    Behaviour(
        "400 that only mentions a token", (error(400, "invalid token in the prompt"),), Failed("bad-request", "invalid")
    ),
    Behaviour(
        "400 that only mentions the system", (error(400, "system error"),), Failed("bad-request", "system"), system=True
    ),
    Behaviour("400 of one prompt", (error(400, "what?"),), Failed("bad-request", "what?")),
    Behaviour(
        "422 with a list of problems",
        (Exchange({"detail": [{"loc": ["body", "messages", 0], "msg": "is odd", "input": "PROMPT"}]}, 422),),
        Failed("bad-request", "body.messages.0: is odd"),
    ),
    Behaviour("an error with half a character", (error(400, "what \ud83d?"),), Failed("bad-request", "what ??")),
    Behaviour("an error over many lines", (error(400, "what\n\n  is\tthis"),), Failed("bad-request", "what is this")),
    *(
        Behaviour(f"too long: {words}", (error(status, words),), Failed("context-length", words))
        for status, words in (
            (400, "This model's maximum context length is 512 tokens"),
            (400, "prompt is too long: 210000 tokens > 200000 maximum"),
            (400, "The input token count (9000) exceeds the maximum number of tokens allowed"),
            (400, "Please reduce the length of the messages or completion."),
            (400, "Range of input length should be [1, 30720]"),
            (400, "The input (5000 tokens) is longer than the model's limit"),
            (422, "`inputs` tokens + `max_new_tokens` must be <= 4096"),
            (500, "the request exceeds the available context size"),
            (413, "too big"),
        )
    ),
)

NO_SYSTEM = tuple(
    Behaviour(f"no system role: {words}", (error(status, words), FINE), WHOLE, asked=2, system=True, has_no_system=True)
    for status, words in (
        (400, "System role not supported"),
        (400, "Unsupported value: 'messages[0].role' does not support 'system' with this model."),
        (400, "Developer instruction is not enabled for models/small"),
        (400, "Conversation roles must alternate user/assistant/user/assistant/..."),
        (422, "system messages are not allowed here"),
        (400, "unsupported role: system"),
        (400, "This template doesn't support a system prompt"),
        (400, "The system prompt isn't allowed with this model"),
        (400, "There is no system role in this template"),
        (500, "TemplateError: System role not supported"),
    )
)

EVERY_REQUEST = tuple(
    Behaviour(f"refuses every request: {words}", (error(400, words),), Ended(words), refuses_all=True)
    for words in (
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
        "Unsupported value: 'temperature' does not support 0.7 with this model.",
        "Unrecognized request argument supplied: seed",
        "x-vendor-version: header is required",
        "model: Extra inputs are not permitted",
    )
)

PASSING = (
    Behaviour("429 once", (error(429, "busy"), FINE), WHOLE, asked=2),
    Behaviour(
        "429 of a quota a minute",
        (error(429, "quota exceeded, billing", headers={"Retry-After": "0"}), FINE),
        WHOLE,
        asked=2,
    ),
    Behaviour(
        "429 until a date",
        (error(429, "busy", headers={"Retry-After": "Mon, 23 Nov 2020 12:00:00 GMT"}), FINE),
        WHOLE,
        asked=2,
    ),
    Behaviour("429 with rubbish", (error(429, "busy", headers={"Retry-After": "soon"}), FINE), WHOLE, asked=2),
    Behaviour("503 once", (error(503, "warming up"), FINE), WHOLE, asked=2),
    Behaviour("529 once", (error(529, "overloaded"), FINE), WHOLE, asked=2),
    Behaviour("500 once", (error(500, "oops"), FINE), WHOLE, asked=2),
    Behaviour("524 once", (error(524, "a timeout occurred"), FINE), WHOLE, asked=2),
    Behaviour("400 of a rate limit", (error(400, "Rate limit reached for requests"), FINE), WHOLE, asked=2),
    Behaviour(
        "500 for ever, for one prompt", (error(500, "oops"),), Failed("server-error", "oops", remembered=False), asked=3
    ),
    Behaviour("500 for ever", (error(500, "dead"),), Ended("nothing but errors"), asked=3, refuses_all=True),
)

BEHAVIOURS = (
    *ENDINGS,
    *USAGE,
    *CONTENT,
    *THOUGHTS,
    *INSIDE,
    *ACCOUNTS,
    *ONE_ROW,
    *NO_SYSTEM,
    *EVERY_REQUEST,
    *PASSING,
)
