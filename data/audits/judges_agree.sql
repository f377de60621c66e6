-- title: Agreement of two ways of judging
-- meaning: Correlation of ranks, inside a problem, that two rating modes give the same answers (as where a run reuses the
--   answers of another).
-- threshold: 0.1
-- direction: at_least
-- blocks: no
-- needs: 20
WITH ranked AS (
    SELECT run, round, mode, problem_id, answer_id,
           rank() OVER one + (count(*) OVER (PARTITION BY run, round, problem_id, mode, score) - 1) / 2 AS place
    FROM ratings WHERE status = 'ok' AND score IS NOT NULL
    WINDOW one AS (PARTITION BY run, round, problem_id, mode ORDER BY score)
),
both_ranked AS (
    SELECT a.run, a.round, a.mode || ' with ' || b.mode AS part, a.place - avg(a.place) OVER p AS place,
           b.place - avg(b.place) OVER p AS other
    FROM ranked a JOIN ranked b ON a.answer_id = b.answer_id AND a.mode <> b.mode
    WINDOW p AS (PARTITION BY a.run, a.round, b.run, b.round, a.problem_id, b.mode)
)
SELECT run, round, part, corr(place, other) AS value, count(*) AS n FROM both_ranked GROUP BY ALL
