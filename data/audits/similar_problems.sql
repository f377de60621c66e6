-- title: Self-similarity of problems
-- meaning: Mean share of words (Jaccard) that two problems have in common, over up to 100 problems. Rises as the problems
--   collapse to one mould.
-- threshold: 0.35
-- direction: at_most
-- blocks: no
-- needs: 10
WITH sample AS (
    SELECT run, round, problem_id, list_distinct(words(problem)) AS w
    FROM problems WHERE status = 'ok' AND problem IS NOT NULL
    QUALIFY row_number() OVER (PARTITION BY run, round ORDER BY hash(problem_id)) <= 100
)
SELECT a.run, a.round, avg(len(list_intersect(a.w, b.w)) / nullif(len(a.w) + len(b.w) - len(list_intersect(a.w, b.w)), 0))
       AS value, count(DISTINCT a.problem_id) + 1 AS n
FROM sample a JOIN sample b ON a.run = b.run AND a.round = b.round AND a.problem_id < b.problem_id
GROUP BY ALL
