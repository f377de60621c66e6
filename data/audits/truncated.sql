-- title: Truncated share
-- meaning: Share of a stage's outputs that were cut at max_tokens and not used. Many: the longest are missing from
--   the data.
-- threshold: 0.2
-- direction: at_most
-- blocks: no
-- needs: 10
SELECT run, round, part[3:] AS part, avg((status = 'truncated')::INT) AS value, count(*) AS n
FROM (
    SELECT run, round, '1 problems' AS part, status FROM problems
    UNION ALL SELECT run, round, '2 answers', status FROM answers WHERE rollout >= 0
    UNION ALL SELECT run, round, '3 rubrics', status FROM rubrics
    UNION ALL SELECT run, round, '4 ratings', status FROM ratings
    UNION ALL SELECT run, round, '5 comparisons', status FROM comparisons
)
GROUP BY ALL
