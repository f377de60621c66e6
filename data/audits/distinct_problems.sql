-- title: Distinct 3-grams of problems
-- meaning: Share of the word 3-grams of up to 200 problems that stand in no other of them. Falls as the problems collapse
--   to one mould.
-- threshold: 0.5
-- direction: at_least
-- blocks: no
-- needs: 10
WITH sample AS (
    SELECT run, round, problem_id, unnest(ngrams(problem, 3)) AS gram
    FROM problems WHERE status = 'ok'
    QUALIFY dense_rank() OVER (PARTITION BY run, round ORDER BY hash(problem_id)) <= 200
),
counted AS (SELECT run, round, gram, count(*) AS problems FROM sample GROUP BY ALL),
sizes AS (SELECT run, round, count(DISTINCT problem_id) AS n FROM sample GROUP BY ALL)
SELECT c.run, c.round, sum((c.problems = 1)::INT) / sum(c.problems) AS value, any_value(s.n) AS n
FROM counted c JOIN sizes s USING (run, round) GROUP BY ALL
