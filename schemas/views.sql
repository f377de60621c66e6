-- the words of a text, lower case; in scripts that do not part words by spaces, every character is one
CREATE MACRO words(t) AS regexp_extract_all(lower(t),
    '[\p{Han}\p{Hiragana}\p{Katakana}ー\p{Bopomofo}\p{Thai}\p{Lao}\p{Tibetan}\p{Myanmar}\p{Khmer}]|(?:\p{N}|\p{Mn}|\p{Mc}|'
    || '[^\P{L}\p{Han}\p{Hiragana}\p{Katakana}ー\p{Bopomofo}\p{Thai}\p{Lao}\p{Tibetan}\p{Myanmar}\p{Khmer}])+');

-- what a text is about, for a look at whether another one says it too: words of four letters or more; two characters in
-- a row where every character is a word, and in Hangul, whose words are short and take endings
CREATE MACRO content_words(t) AS
list_transform([words(t)], lambda w: list_distinct(list_concat(
    list_filter(w, lambda x: len(x) >= 4 AND NOT regexp_matches(x, '\p{Hangul}')),
    list_filter(list_transform(range(1, len(w)), lambda i: w[i] || w[i + 1]), lambda x: regexp_full_match(x,
        '[\p{Han}\p{Hiragana}\p{Katakana}ー\p{Bopomofo}\p{Thai}\p{Lao}\p{Tibetan}\p{Myanmar}\p{Khmer}]{2}')),
    flatten(list_transform(list_filter(w, lambda x: regexp_matches(x, '\p{Hangul}')), lambda x:
        list_transform(range(1, greatest(len(x), 2)), lambda i: x[i:i + 1])))
)))[1];

-- the different word n-grams of a text, as hashes; an empty list where it has fewer words
CREATE MACRO ngrams(t, n) AS
list_transform([words(t)], lambda w: list_distinct(
    list_transform(range(greatest(len(w) - n + 1, 0)), lambda i: hash(array_to_string(w[i + 1:i + n], ' ')))))[1];

-- share of the n-grams of a that b has too; null where a has none
CREATE MACRO share_of_ngrams(a, b, n) AS
list_transform([{'own': ngrams(a, n), 'other': ngrams(b, n)}],
               lambda s: len(list_intersect(s.own, s.other)) / nullif(len(s.own), 0))[1];

-- one row a rubric criterion, with the passage that its gold fact rests on; by one that is ungrounded nothing is rated
-- (not by a lateral join: a filter on it would be many times slower)
CREATE VIEW criteria AS
SELECT run, round, rubric_id, problem_id, document_id, c.name, c.gold, c.description, c.weight, c.evidence, c.support,
       c.status
FROM (SELECT run, round, rubric_id, problem_id, document_id, unnest(criteria) AS c FROM rubrics
      WHERE status IN ('ok', 'ungrounded'));

-- one row an answer and criterion
CREATE VIEW criterion_ratings AS
SELECT run, round, rating_id, answer_id, rubric_id, problem_id, m.name, m.rating, m.thoughts, m.told, m.against
FROM (
    SELECT run, round, rating_id, answer_id, rubric_id, problem_id, unnest(ratings) AS m
    FROM ratings WHERE status = 'ok'
);

-- problem, reference answer and rubric of each document
CREATE VIEW triples AS
SELECT p.run, p.round, p.document_id, d.title, p.problem_id, p.problem, p.reference_answer, r.rubric_id, r.criteria
FROM problems p
JOIN rubrics r ON r.problem_id = p.problem_id AND r.run = p.run AND r.round = p.round
JOIN documents d ON d.document_id = p.document_id AND d.run = p.run AND d.round = p.round
WHERE p.status = 'ok' AND r.status = 'ok' AND d.status = 'ok';

-- documents left out of each round, exactly: where they are very many, only a sample of them (`rows`) is in the table
CREATE VIEW left_out AS
SELECT run, round, status, count, rows, count - rows AS rowless
FROM (
    SELECT run, round, status, greatest(coalesce(c.count, 0), coalesce(d.rows, 0)) AS count, coalesce(d.rows, 0) AS rows
    FROM (SELECT run, round, status, count(*) AS rows FROM documents GROUP BY ALL) d
    FULL JOIN document_counts c USING (run, round, status)
)
WHERE status NOT IN ('ok', 'not_sampled', 'excluded') AND count > 0;

-- score of the reference answer beside those of the model's own answers: the generation-verification gap; answers with a
-- hint (`sampling.hints`) have seen a sentence of the document, and stand apart
CREATE VIEW gap AS
SELECT t.run, t.round, t.problem_id,
       avg(t.score) FILTER (a.rollout = -1) AS reference_score,
       avg(t.score) FILTER (a.rollout >= 0 AND a.hint IS NULL) AS mean_score,
       min(t.score) FILTER (a.rollout >= 0 AND a.hint IS NULL) AS worst_score,
       max(t.score) FILTER (a.rollout >= 0 AND a.hint IS NULL) AS best_score,
       count(t.score) FILTER (a.rollout >= 0 AND a.hint IS NULL) AS answers,
       avg(t.score) FILTER (a.hint IS NOT NULL) AS hinted_score
FROM ratings t JOIN answers a USING (run, round, answer_id)
WHERE t.status = 'ok' GROUP BY ALL;

-- where each problem's answers lie between one that tells nothing (0) and the reference (1), and whether they differ in a
-- way that a pair could teach; answers that are compared with each other have no such place, and neither have those of
-- earlier versions whose likelihood ratings were 1 where nothing was told
CREATE VIEW signal AS
SELECT run, round, problem_id, worst_score, mean_score, best_score, reference_score, answers,
       if(from_nothing, mean_score / nullif(reference_score, 0), NULL) AS place,
       CASE WHEN coalesce(answers, 0) < 2 THEN 'few answers'
            WHEN best_score <= 1e-9 AND from_nothing THEN 'no answer tells anything'
            WHEN best_score - worst_score < 1e-9 THEN 'all alike' ELSE 'signal' END AS verdict
FROM gap JOIN (
    SELECT run, round, problem_id, any_value(mode) NOT IN ('pairwise', 'anchor')
           AND (any_value(mode) <> 'likelihood' OR count(told) > 0) AS from_nothing
    FROM ratings GROUP BY ALL
) USING (run, round, problem_id);

-- how many rows came through each step
CREATE VIEW funnel AS
WITH counts AS (
    SELECT run, round, 1 AS step, 'documents' AS stage, count(*) + any_value(coalesce(u.rowless, 0))::BIGINT AS total,
           count(*) FILTER (status = 'ok') AS ok
    FROM documents LEFT JOIN (SELECT run, round, sum(rowless) AS rowless FROM left_out GROUP BY ALL) u USING (run, round)
    WHERE split = 'train' OR split IS NULL GROUP BY run, round
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
    SELECT run, round, 6 AS step, 'problems with a signal' AS stage, count(*) AS total,
           count(*) FILTER (verdict = 'signal') AS ok
    FROM signal GROUP BY ALL
    UNION ALL BY NAME
    SELECT run, round, 7 AS step, 'pairs' AS stage, count(*) AS total, count(*) FILTER (status = 'ok') AS ok
    FROM pairs GROUP BY ALL
)
SELECT run, round, step, stage, total, ok, round(ok / total, 3) AS share_ok FROM counts ORDER BY run, round, step;

-- what became of each row of each step, and why
CREATE VIEW outcomes AS
SELECT run, round, 'documents' AS stage, status, reason FROM documents
UNION ALL SELECT run, round, 'problems', status, reason FROM problems
UNION ALL SELECT run, round, 'answers', status, reason FROM answers WHERE rollout >= 0
UNION ALL SELECT run, round, 'rubrics', status, reason FROM rubrics
UNION ALL SELECT run, round, 'ratings', status, reason FROM ratings
UNION ALL SELECT run, round, 'comparisons', status, reason FROM comparisons
UNION ALL SELECT run, round, 'pairs', status, reason FROM pairs
UNION ALL SELECT run, round, 'training', status, reason FROM unfit_pairs
UNION ALL SELECT run, round, 'models', if(status IN ('candidate', 'promoted'), 'ok', status), reason FROM models;

-- what fell out where, and why; `rows` of the `count` are in the table
CREATE VIEW rejections AS
SELECT run, round, stage, status, any_value(reason) AS example,
       coalesce(any_value(l.count), count(*)) AS count, count(*) AS rows
FROM outcomes LEFT JOIN (SELECT *, 'documents' AS stage FROM left_out) l USING (run, round, stage, status)
WHERE status <> 'ok' GROUP BY run, round, stage, status ORDER BY run, round, stage, count DESC;

-- every rated answer of up to 1,000 problems beside what no judge has a hand in: `grounded` is the share of its words (of
-- four letters and more, not in the problem) that stand in the document; and its own likelihood and length, the zero line
CREATE VIEW graded AS
WITH problem AS (
    SELECT q.run, q.round, q.problem_id, content_words(q.problem) AS asked, content_words(d.text) AS there
    FROM (
        SELECT * FROM problems WHERE status = 'ok'
        QUALIFY row_number() OVER (PARTITION BY run, round ORDER BY hash(problem_id)) <= 1000
    ) q
    JOIN documents d ON d.run = q.run AND d.round = q.round AND d.document_id = q.document_id AND d.status = 'ok'
)
SELECT t.run, t.round, t.problem_id, t.answer_id, a.rollout, a.hint IS NOT NULL AS hinted, t.mode, t.score, t.told, t.against, t.own_likelihood, a.words,
       list_transform([list_filter(content_words(a.final), lambda w: NOT list_contains(p.asked, w))], lambda w:
           len(list_intersect(w, p.there)) / nullif(len(w), 0))[1] AS grounded
FROM ratings t
JOIN answers a USING (run, round, answer_id)
JOIN problem p ON p.run = t.run AND p.round = t.round AND p.problem_id = t.problem_id
WHERE t.status = 'ok' AND t.score IS NOT NULL;

-- how each judge orders answers: rank correlation, inside a problem, with `grounded`, and the same `beyond` the zero line
-- (partial: what an answer's own likelihood and its length say too is taken out), each with half the width of its 95 %
-- interval. The interval is that of problems drawn anew (linearised, clustered by problem). Beside the judge stand the
-- zero lines themselves. `needed` problems would tell on which side of 0.05 `beyond` is
CREATE VIEW judges AS
WITH word AS (
    SELECT run, round, problem_id, rollout, u.judge, u.score, own_likelihood, words, grounded
    FROM graded, unnest([
        {'judge': mode, 'score': score}, {'judge': 'own likelihood', 'score': own_likelihood},
        {'judge': 'length', 'score': words::DOUBLE}, {'judge': 'told', 'score': told}, {'judge': 'against', 'score': -against}
    ]) AS v(u)
    WHERE u.score IS NOT NULL AND grounded IS NOT NULL AND NOT hinted
),
each AS (
    SELECT word.*, w.reference FROM word JOIN (SELECT unnest([false, true]) AS reference) w ON w.reference OR rollout >= 0
),
ranked AS (
    SELECT run, round, judge, reference, problem_id,
           (rank() OVER (one ORDER BY score) + (count(*) OVER (PARTITION BY run, round, judge, reference, problem_id, score)
               - count(*) OVER one) / 2 - 1) / count(*) OVER one AS s,
           (rank() OVER (one ORDER BY grounded) + (count(*) OVER (PARTITION BY run, round, judge, reference, problem_id,
               grounded) - count(*) OVER one) / 2 - 1) / count(*) OVER one AS g,
           if(own_likelihood IS NULL, 0, (rank() OVER (one ORDER BY own_likelihood) + (count(*) OVER (PARTITION BY run,
               round, judge, reference, problem_id, own_likelihood) - count(*) OVER one) / 2 - 1) / count(*) OVER one) AS o,
           (rank() OVER (one ORDER BY words) + (count(*) OVER (PARTITION BY run, round, judge, reference, problem_id, words)
               - count(*) OVER one) / 2 - 1) / count(*) OVER one AS l
    FROM each WINDOW one AS (PARTITION BY run, round, judge, reference, problem_id)
),
moments AS (
    SELECT run, round, judge, reference, sum(o * o) AS oo, sum(l * l) AS ll, sum(o * l) AS ol, sum(s * o) AS so,
           sum(s * l) AS sl, sum(g * o) AS go, sum(g * l) AS gl, sum(s * s) AS ss
    FROM ranked GROUP BY ALL
),
slopes AS (
    SELECT *, oo * ll - ol * ol AS det, oo * ll - ol * ol > 1e-9 * (oo * ll + 1e-12) AS two,
           if(two, (so * ll - sl * ol) / det, coalesce(so / nullif(oo, 0), 0)) AS s_o,
           if(two, (sl * oo - so * ol) / det, if(oo > 0, 0, coalesce(sl / nullif(ll, 0), 0))) AS s_l,
           if(two, (go * ll - gl * ol) / det, coalesce(go / nullif(oo, 0), 0)) AS g_o,
           if(two, (gl * oo - go * ol) / det, if(oo > 0, 0, coalesce(gl / nullif(ll, 0), 0))) AS g_l
    FROM moments
),
left_over AS (
    SELECT run, round, judge, reference, problem_id, s, g, s - s_o * o - s_l * l AS es, g - g_o * o - g_l * l AS eg
    FROM ranked JOIN slopes USING (run, round, judge, reference)
),
sums AS (
    SELECT run, round, judge, reference, count(*) AS answers, count(DISTINCT problem_id) AS problems,
           sqrt(avg(s * s)) AS ds, sqrt(avg(g * g)) AS dg, sqrt(avg(es * es)) AS des, sqrt(avg(eg * eg)) AS deg,
           avg(s * g) AS sg, avg(es * eg) AS esg
    FROM left_over GROUP BY ALL
),
both_r AS (
    SELECT *, sg / nullif(ds * dg, 0) AS r, if(des < 1e-6 * ds OR ds = 0, 0, esg / nullif(des * deg, 0)) AS b FROM sums
),
spread AS (
    SELECT run, round, judge, reference, sqrt(sum(u * u)) AS du, sqrt(sum(v * v)) AS dv
    FROM (
        SELECT run, round, judge, reference, problem_id,
               sum(s * g / nullif(ds * dg, 0) - r * (s * s / nullif(ds * ds, 0) + g * g / nullif(dg * dg, 0)) / 2) AS u,
               sum(es * eg / nullif(des * deg, 0)
                   - b * (es * es / nullif(des * des, 0) + eg * eg / nullif(deg * deg, 0)) / 2) AS v
        FROM left_over JOIN both_r USING (run, round, judge, reference) GROUP BY ALL
    ) GROUP BY ALL
),
found AS (
    SELECT run, round, judge, reference, problems, answers, r AS correlation,
           1.96 * du / answers * sqrt(problems / nullif(problems - 1, 0)) AS correlation_pm,
           if(judge IN ('own likelihood', 'length'), NULL, b) AS beyond,
           if(judge IN ('own likelihood', 'length'), NULL, if(des < 1e-6 * ds OR ds = 0, 0,
               1.96 * dv / answers * sqrt(problems / nullif(problems - 1, 0)))) AS beyond_pm
    FROM both_r JOIN spread USING (run, round, judge, reference)
),
extremes AS (
    SELECT run, round, judge, avg(CASE WHEN top > bottom THEN 1.0 WHEN top = bottom THEN 0.5 ELSE 0.0 END) AS agree
    FROM (
        SELECT run, round, judge, problem_id, arg_max(grounded, score) AS top, arg_min(grounded, score) AS bottom
        FROM word WHERE rollout >= 0 GROUP BY ALL HAVING max(score) > min(score)
    ) GROUP BY ALL
),
above AS (
    SELECT run, round, judge, avg((known > mean)::INT) AS reference_above FROM (
        SELECT run, round, judge, problem_id, max(score) FILTER (rollout < 0) AS known,
               avg(score) FILTER (rollout >= 0) AS mean FROM word GROUP BY ALL
    ) WHERE known IS NOT NULL AND mean IS NOT NULL GROUP BY ALL
)
SELECT f.run, f.round, f.judge, f.reference, f.problems, f.answers, f.correlation, f.correlation_pm, f.beyond, f.beyond_pm,
       e.agree, b.reference_above,
       ceil(f.problems * (f.beyond_pm / nullif(abs(f.beyond - 0.05), 0)) ^ 2)::BIGINT AS needed
FROM found f LEFT JOIN extremes e USING (run, round, judge) LEFT JOIN above b USING (run, round, judge)
ORDER BY f.run, f.round, f.reference, f.judge;

-- how a round's judge did on its probes, over all and by kind: the share passed, with Wilson's interval of 95 %
CREATE VIEW probe_scores AS
SELECT run, round, mode, judge, kind, passed, n, (passed + 1.9208 / n - half) / (1 + 3.8416 / n) AS low,
       (passed + 1.9208 / n + half) / (1 + 3.8416 / n) AS high
FROM (
    SELECT p.run, p.round, any_value(p.mode) AS mode, any_value(m.models ->> coalesce(m.config ->> '$.roles.judge', 'policy'))
           AS judge, coalesce(kind, 'all') AS kind, avg(p.passed::INT) AS passed, count(*) AS n,
           1.96 * sqrt(avg(p.passed::INT) * (1 - avg(p.passed::INT)) / count(*) + 0.9604 / count(*) ^ 2) AS half
    FROM probes p LEFT JOIN manifests m ON m.run = p.run AND m.round = p.round
    WHERE p.passed IS NOT NULL GROUP BY GROUPING SETS ((p.run, p.round, kind), (p.run, p.round))
);

-- what the configuration says that the tokens of a model cost; null where it does not say
CREATE VIEW prices AS
SELECT m.run, m.round, t.value ->> '$' AS model,
       any_value((m.config -> 'models' -> t.key ->> 'usd_per_million_prompt_tokens')::DOUBLE) AS usd_prompt,
       any_value((m.config -> 'models' -> t.key ->> 'usd_per_million_completion_tokens')::DOUBLE) AS usd_completion
FROM manifests m, json_each(m.models) t GROUP BY ALL;

-- an answer to an exam, beside its prompt: the model that wrote it, what it scored (points over those to be had, or 1 for a
-- match), the judge, and why there is no score; a baseline's answer is rollout -1. Wins are in `exam_verdicts`
CREATE VIEW exam_answers AS
SELECT e.run, e.round, e.exam, e.kind, e.category, e.place, e.problem_id, e.problem, a.answer_id, a.rollout,
       g.model, a.final AS answer, a.words, a.status, a.reason, r.score, r.status AS rating_status,
       r.reason AS rating_reason, j.model AS judge, r.rating_id
FROM exam_prompts e JOIN answers a USING (run, round, problem_id)
LEFT JOIN ratings r ON r.run = a.run AND r.round = a.round AND r.answer_id = a.answer_id
LEFT JOIN (SELECT DISTINCT run, round, generation_id, model FROM generations) g
    ON g.run = a.run AND g.round = a.round AND g.generation_id = a.generation_id
LEFT JOIN (SELECT DISTINCT run, round, generation_id, model FROM generations) j
    ON j.run = r.run AND j.round = r.round AND j.generation_id = r.generation_id;

-- a criterion of an exam and an answer: its points, whether it is met (1, 0; null: no verdict), and the judge's thoughts
CREATE VIEW exam_marks AS
SELECT a.run, a.round, a.exam, a.category, a.problem_id, a.problem, a.answer_id, a.model, a.answer, i.name,
       i.description AS criterion, i.points, i.tags, m.rating AS met, m.thoughts, a.judge
FROM exam_answers a
JOIN (SELECT run, round, problem_id, unnest(criteria) AS i FROM exam_prompts) p
    ON p.run = a.run AND p.round = a.round AND p.problem_id = a.problem_id
JOIN (SELECT run, round, rating_id, unnest(ratings) AS m FROM ratings) r
    ON r.run = a.run AND r.round = a.round AND r.rating_id = a.rating_id AND r.m.name = p.i.name;

-- two answers to a prompt of an exam, shown to the judge in one order: who won, by what thoughts, or why nobody knows
CREATE VIEW exam_verdicts AS
SELECT e.run, e.round, e.exam, e.category, e.problem_id, e.problem, c.comparison_id, c.first_answer_id,
       c.second_answer_id, f.model AS first_model, s.model AS second_model, f.answer AS first_answer,
       s.answer AS second_answer, f.words AS first_words, s.words AS second_words,
       CASE WHEN c.first_mark > c.second_mark THEN 'first' WHEN c.first_mark < c.second_mark THEN 'second'
            WHEN c.first_mark = c.second_mark THEN 'tie' END AS better,
       c.thoughts, c.status, c.reason, g.model AS judge
FROM exam_prompts e JOIN comparisons c USING (run, round, problem_id)
LEFT JOIN exam_answers f ON f.run = c.run AND f.round = c.round AND f.answer_id = c.first_answer_id
LEFT JOIN exam_answers s ON s.run = c.run AND s.round = c.round AND s.answer_id = c.second_answer_id
LEFT JOIN (SELECT DISTINCT run, round, generation_id, model FROM generations) g
    ON g.run = c.run AND g.round = c.round AND g.generation_id = c.generation_id;

-- tokens, time and money a role, over all and an accepted pair; what was taken over from another round was paid there,
-- and calls for an exam stand by themselves
CREATE VIEW costs AS
WITH exams AS (
    SELECT e.run, e.round, e.exam, unnest([a.answer_id, r.rating_id]) AS subject_id
    FROM exam_prompts e JOIN answers a USING (run, round, problem_id)
    LEFT JOIN ratings r ON r.run = a.run AND r.round = a.round AND r.answer_id = a.answer_id
    UNION
    SELECT e.run, e.round, e.exam, c.comparison_id FROM exam_prompts e JOIN comparisons c USING (run, round, problem_id)
), used AS (
    SELECT run, round, role, model, exam, count(*) AS calls, sum(prompt_tokens) AS prompt_tokens,
           sum(completion_tokens) AS completion_tokens, round(sum(seconds), 1) AS call_seconds
    FROM generations LEFT JOIN exams USING (run, round, subject_id) WHERE reused_from IS NULL GROUP BY ALL
), kept AS (
    SELECT run, round, count(*) AS pairs FROM pairs WHERE status = 'ok' GROUP BY ALL
), priced AS (
    SELECT used.*, (prompt_tokens * usd_prompt + completion_tokens * usd_completion) / 1e6 AS cost_usd
    FROM used LEFT JOIN prices USING (run, round, model)
)
SELECT priced.*, kept.pairs, round((prompt_tokens + completion_tokens) / kept.pairs, 1) AS tokens_per_pair,
       round(call_seconds / kept.pairs, 2) AS call_seconds_per_pair, cost_usd / kept.pairs AS cost_usd_per_pair
FROM priced LEFT JOIN kept USING (run, round) ORDER BY run, round, role, exam;

-- how full the servers of a round were while they had work, and how much of the prompts they found in their caches
CREATE VIEW servers AS
SELECT run, round, model, round(seconds, 1) AS seconds, round(full_seconds / nullif(seconds, 0), 3) AS full_share,
       round(running_seconds / nullif(seconds, 0), 1) AS running, round(waiting_seconds / nullif(seconds, 0), 1) AS waiting,
       round(prefix_hits / nullif(prefix_queries, 0), 3) AS prefix_hit_rate,
       round(prompt_tokens / nullif(seconds, 0), 1) AS prompt_tokens_a_sec,
       round(written_tokens / nullif(seconds, 0), 1) AS written_tokens_a_sec
FROM server_load ORDER BY run, round, model;

-- settings of each round, one row a setting
CREATE VIEW settings AS
SELECT m.run, m.round, t.fullkey[3:] AS name, t.value ->> '$' AS value
FROM manifests m, json_tree(m.config) t
WHERE t.type <> 'OBJECT' AND NOT contains(t.fullkey, '[');

-- which prompt files a stage was asked with, by the hash of their text
CREATE VIEW prompts AS
SELECT DISTINCT f.run, f.round, f.content ->> 'stage' AS stage, t.key AS prompt, t.value ->> '$' AS hash
FROM footers f, json_tree(f.content, '$.settings.prompts') t
WHERE t.type = 'VARCHAR';

-- each round with its settings, models, fingerprints and what came of it
CREATE VIEW rounds AS
SELECT m.run, m.round, m.finished, m.written, m.version, m.models ->> 'policy' AS policy,
       m.config ->> '$.corpus.source' AS corpus, m.config ->> '$.task.type' AS task,
       m.config ->> '$.task.dialect' AS dialect, m.config ->> '$.rating.mode' AS rating_mode,
       (m.config ->> '$.sampling.answers')::BIGINT AS answers_per_problem,
       (m.config ->> '$.training.learning_rate')::DOUBLE AS learning_rate,
       (m.config ->> '$.training.beta')::DOUBLE AS beta,
       nullif(m.config ->> '$.pairing.control', 'none') AS control,  -- such pairs are not the judge's
       c.documents, c.problems, c.answers, c.rubrics, c.rated_answers, c.pairs, g.reference_score, g.mean_score,
       t.steps, t.last_loss, m.models, m.config, m.fingerprints
FROM manifests m
LEFT JOIN (
    SELECT run, round, any_value(ok) FILTER (stage = 'documents') AS documents,
           any_value(ok) FILTER (stage = 'problems') AS problems, any_value(ok) FILTER (stage = 'answers') AS answers,
           any_value(ok) FILTER (stage = 'rubrics') AS rubrics,
           any_value(ok) FILTER (stage = 'rated answers') AS rated_answers,
           any_value(ok) FILTER (stage = 'pairs') AS pairs
    FROM funnel GROUP BY ALL
) c USING (run, round)
LEFT JOIN (
    SELECT run, round, avg(reference_score) AS reference_score, avg(mean_score) AS mean_score FROM gap GROUP BY ALL
) g USING (run, round)
LEFT JOIN (
    SELECT run, round, count(*) AS steps, arg_max(loss, step) AS last_loss FROM training_steps GROUP BY ALL
) t USING (run, round)
ORDER BY m.run, m.round;

-- from a pair to everything it came from; one row a pair that names two answers
CREATE VIEW pair_lineage AS
WITH judged AS (
    SELECT run, round, subject_id, list(completion ORDER BY generation_id) AS texts, any_value(model) AS model
    FROM generations WHERE role = 'judge' GROUP BY ALL
),
rated AS (
    SELECT t.run, t.round, t.answer_id, t.rubric_id, t.mode, t.score, t.ratings, j.texts, j.model
    FROM ratings t LEFT JOIN judged j ON j.run = t.run AND j.round = t.round AND j.subject_id = t.rating_id
),
compared AS (
    SELECT c.run, c.round, p.pair_id, any_value(g.model) AS model, list({
        'first_answer_id': c.first_answer_id, 'second_answer_id': c.second_answer_id, 'first_mark': c.first_mark,
        'second_mark': c.second_mark, 'thoughts': c.thoughts, 'judge_text': g.completion
    } ORDER BY c.comparison_id) AS comparisons
    FROM comparisons c
    JOIN pairs p ON p.run = c.run AND p.round = c.round AND p.problem_id = c.problem_id
        AND (c.first_answer_id IN (p.chosen_answer_id, p.rejected_answer_id)
            OR c.second_answer_id IN (p.chosen_answer_id, p.rejected_answer_id))
    LEFT JOIN generations g ON g.run = c.run AND g.round = c.round AND g.generation_id = c.generation_id
    GROUP BY ALL
),
asked AS (
    SELECT run, round, list({'stage': stage, 'prompt': prompt, 'hash': hash} ORDER BY stage, prompt) AS prompts
    FROM prompts GROUP BY ALL
)
SELECT p.run, p.round, p.pair_id, p.status, p.margin, d.document_id, d.title, d.text AS document,
       q.problem_id, q.problem, q.reference_answer, p.chosen_answer_id, c.final AS chosen, p.chosen_score,
       p.rejected_answer_id, r.final AS rejected, p.rejected_score, f.score AS reference_score, b.rubric_id,
       list_transform(b.criteria, lambda x: {
           'name': x.name, 'gold': x.gold, 'description': x.description, 'weight': x.weight,
           'evidence': x.evidence, 'support': x.support, 'status': x.status,
           'chosen_rating': list_filter(tc.ratings, lambda m: m.name = x.name)[1].rating,
           'chosen_thoughts': list_filter(tc.ratings, lambda m: m.name = x.name)[1].thoughts,
           'rejected_rating': list_filter(tr.ratings, lambda m: m.name = x.name)[1].rating,
           'rejected_thoughts': list_filter(tr.ratings, lambda m: m.name = x.name)[1].thoughts,
           'reference_rating': list_filter(f.ratings, lambda m: m.name = x.name)[1].rating
       }) AS criteria,
       tc.mode AS rating_mode, tc.texts AS chosen_judge_texts, tr.texts AS rejected_judge_texts,
       k.comparisons, coalesce(tc.model, k.model) AS judge_model, g.model AS answer_model, a.prompts,
       nullif(o.config ->> '$.pairing.control', 'none') AS control, c.hint,
       CASE WHEN c.rollout = -1 THEN 'reference' WHEN c.hint IS NOT NULL THEN 'hinted' ELSE 'blind' END AS chosen_from
FROM pairs p
JOIN problems q ON q.run = p.run AND q.round = p.round AND q.problem_id = p.problem_id
LEFT JOIN documents d ON d.run = q.run AND d.round = q.round AND d.document_id = q.document_id
    AND d.status = 'ok'
JOIN answers c ON c.run = p.run AND c.round = p.round AND c.answer_id = p.chosen_answer_id
JOIN answers r ON r.run = p.run AND r.round = p.round AND r.answer_id = p.rejected_answer_id
LEFT JOIN rubrics b ON b.run = p.run AND b.round = p.round AND b.problem_id = p.problem_id AND b.status = 'ok'
LEFT JOIN rated tc ON tc.run = p.run AND tc.round = p.round AND tc.answer_id = p.chosen_answer_id
LEFT JOIN rated tr ON tr.run = p.run AND tr.round = p.round AND tr.answer_id = p.rejected_answer_id
LEFT JOIN answers fa ON fa.run = p.run AND fa.round = p.round AND fa.problem_id = p.problem_id AND fa.rollout = -1
LEFT JOIN rated f ON f.run = p.run AND f.round = p.round AND f.answer_id = fa.answer_id
LEFT JOIN (SELECT DISTINCT run, round, generation_id, model FROM generations) g
    ON g.run = p.run AND g.round = p.round AND g.generation_id = c.generation_id
LEFT JOIN compared k ON k.run = p.run AND k.round = p.round AND k.pair_id = p.pair_id
LEFT JOIN asked a ON a.run = p.run AND a.round = p.round
LEFT JOIN manifests o ON o.run = p.run AND o.round = p.round;
