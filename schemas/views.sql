-- one row a rubric criterion
CREATE VIEW criteria AS
SELECT r.run, r.round, r.rubric_id, r.problem_id, r.document_id, c.name, c.gold, c.description, c.weight
FROM rubrics r, unnest(r.criteria) AS u(c)
WHERE r.status = 'ok';

-- one row an answer and criterion
CREATE VIEW criterion_ratings AS
SELECT t.run, t.round, t.rating_id, t.answer_id, t.rubric_id, t.problem_id, m.name, m.rating, m.thoughts
FROM ratings t, unnest(t.ratings) AS u(m)
WHERE t.status = 'ok';

-- problem, reference answer and rubric of each document
CREATE VIEW triples AS
SELECT p.run, p.round, p.document_id, d.title, p.problem_id, p.problem, p.reference_answer, r.rubric_id, r.criteria
FROM problems p
JOIN rubrics r ON r.problem_id = p.problem_id AND r.run = p.run AND r.round = p.round
JOIN documents d ON d.document_id = p.document_id AND d.run = p.run AND d.round = p.round
WHERE p.status = 'ok' AND r.status = 'ok' AND d.status = 'ok';

-- how many rows came through each step
CREATE VIEW funnel AS
WITH counts AS (
    SELECT run, round, 1 AS step, 'documents' AS stage, count(*) AS total, count(*) FILTER (status = 'ok') AS ok
    FROM documents WHERE split = 'train' OR split IS NULL GROUP BY ALL
    UNION ALL BY NAME
    SELECT run, round, 2 AS step, 'problems' AS stage, count(*) AS total, count(*) FILTER (status = 'ok') AS ok
    FROM problems GROUP BY ALL
    UNION ALL BY NAME
    SELECT run, round, 3 AS step, 'answers' AS stage, count(*) AS total, count(*) FILTER (status = 'ok') AS ok
    FROM answers WHERE rollout >= 0 GROUP BY ALL
    UNION ALL BY NAME
    SELECT run, round, 4 AS step, 'rubrics' AS stage, count(*) AS total, count(*) FILTER (status = 'ok') AS ok
    FROM rubrics GROUP BY ALL
    UNION ALL BY NAME
    SELECT t.run, t.round, 5 AS step, 'rated answers' AS stage, count(*) AS total,
           count(*) FILTER (t.status = 'ok') AS ok
    FROM ratings t JOIN answers a USING (run, round, answer_id) WHERE a.rollout >= 0 GROUP BY ALL
    UNION ALL BY NAME
    SELECT run, round, 6 AS step, 'pairs' AS stage, count(*) AS total, count(*) FILTER (status = 'ok') AS ok
    FROM pairs GROUP BY ALL
)
SELECT run, round, step, stage, total, ok, round(ok / total, 3) AS share_ok FROM counts ORDER BY run, round, step;

-- what fell out where, and why
CREATE VIEW rejections AS
SELECT run, round, stage, status, any_value(reason) AS example, count(*) AS count FROM (
    SELECT run, round, 'documents' AS stage, status, reason FROM documents
    UNION ALL SELECT run, round, 'problems', status, reason FROM problems
    UNION ALL SELECT run, round, 'answers', status, reason FROM answers
    UNION ALL SELECT run, round, 'rubrics', status, reason FROM rubrics
    UNION ALL SELECT run, round, 'ratings', status, reason FROM ratings
    UNION ALL SELECT run, round, 'pairs', status, reason FROM pairs
    UNION ALL SELECT run, round, 'models', status, reason FROM models WHERE status NOT IN ('candidate', 'promoted')
) WHERE status <> 'ok' GROUP BY ALL ORDER BY run, round, stage, count DESC;

-- score of the reference answer beside those of the model's own answers: the generation-verification gap
CREATE VIEW gap AS
SELECT t.run, t.round, t.problem_id,
       avg(t.score) FILTER (a.rollout = -1) AS reference_score,
       avg(t.score) FILTER (a.rollout >= 0) AS mean_score,
       min(t.score) FILTER (a.rollout >= 0) AS worst_score,
       max(t.score) FILTER (a.rollout >= 0) AS best_score,
       count(t.score) FILTER (a.rollout >= 0) AS answers
FROM ratings t JOIN answers a USING (run, round, answer_id)
WHERE t.status = 'ok' GROUP BY ALL;

-- tokens, time and money a role, over all and an accepted pair; what was taken over from another round was paid there
CREATE VIEW costs AS
WITH used AS (
    SELECT run, round, role, model, count(*) AS calls, sum(prompt_tokens) AS prompt_tokens,
           sum(completion_tokens) AS completion_tokens, round(sum(seconds), 1) AS call_seconds
    FROM generations WHERE reused_from IS NULL GROUP BY ALL
), kept AS (
    SELECT run, round, count(*) AS pairs FROM pairs WHERE status = 'ok' GROUP BY ALL
), priced AS (
    SELECT used.*, (prompt_tokens * usd_per_million_prompt_tokens
                    + completion_tokens * usd_per_million_completion_tokens) / 1e6 AS cost_usd
    FROM used LEFT JOIN prices USING (run, round, model)
)
SELECT priced.*, kept.pairs, round((prompt_tokens + completion_tokens) / kept.pairs, 1) AS tokens_per_pair,
       cost_usd / kept.pairs AS cost_usd_per_pair
FROM priced LEFT JOIN kept USING (run, round) ORDER BY run, round, role;
