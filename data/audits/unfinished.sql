-- title: Unfinished share
-- meaning: Share of a stage's outputs that end in a lead-in, a list mark or half a sentence and are not used. Many: a stop
--   text (`sampling.ROLE.stop`) cuts off what was to follow; models that write lists want none.
-- threshold: 0.2
-- direction: at_most
-- blocks: no
-- needs: 10
SELECT run, round, stage AS part, avg((status = 'unfinished')::INT) AS value, count(*) AS n
FROM outcomes WHERE stage IN ('problems', 'answers', 'rubrics', 'ratings') GROUP BY ALL
