-- title: Truncated share
-- meaning: Share of a stage's outputs that were cut at max_tokens and not used. Many: the longest are missing from
--   the data.
-- threshold: 0.2
-- direction: at_most
-- blocks: no
-- needs: 10
SELECT run, round, stage AS part, avg((status = 'truncated')::INT) AS value, count(*) AS n
FROM outcomes WHERE stage IN ('problems', 'answers', 'rubrics', 'ratings', 'comparisons') GROUP BY ALL
