-- title: Malformed share
-- meaning: Share of a stage's outputs that could not be read. A malformed output is a fault of the prompt or the model,
--   never a low score.
-- threshold: 0.2
-- direction: at_most
-- blocks: no
-- needs: 10
SELECT run, round, stage AS part, avg((status = 'malformed')::INT) AS value, count(*) AS n
FROM outcomes WHERE stage IN ('problems', 'answers', 'rubrics', 'ratings', 'comparisons') GROUP BY ALL
