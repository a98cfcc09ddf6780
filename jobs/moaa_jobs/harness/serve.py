"""One request of a job answered. Runs in the child."""

from typing import assert_never

from moaa_jobs.harness.documents import write_documents
from moaa_jobs.harness.messages import REQUEST, Answer, CheckRules, LookAtRules, RulesSeen, ScoreAnswer, WriteDocuments
from moaa_jobs.harness.rules import BrokenRule, follow, refusal
from moaa_jobs.harness.scoring import BrokenTask, Scorer
from moaa_jobs.harness.tasks import RefusedTask

_scorer = Scorer()


def answer(line: str) -> str:
    """The answer to one line, as one line. Raises ValueError: it is no request, a mistake of the job."""
    return _answer(line).model_dump_json(exclude_none=True)


def _answer(line: str) -> Answer:
    request = REQUEST.validate_json(line)
    try:
        match request:
            case WriteDocuments():
                return Answer(documents=write_documents(request))
            case ScoreAnswer():
                return Answer(score=_scorer.score(request))
            case CheckRules():
                return Answer(followed=follow(request))
            case LookAtRules():
                return Answer(rules=RulesSeen(refused=[refusal(rule, given) for rule, given in request.rules]))
            case _:
                assert_never(request)
    except RefusedTask as error:
        return Answer(refused=str(error))
    except (BrokenTask, BrokenRule) as error:
        return Answer(broken=str(error))
