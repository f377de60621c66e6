-- title: Reference beats the mean answer
-- meaning: Share of problems whose reference answer, written with the document in view, scores above the mean of the answers
--   written without it: the generation-verification gap that the method lives on.
-- threshold: 0.5
-- direction: at_least
-- blocks: yes
-- needs: 10
SELECT run, round, avg((reference_score > mean_score)::INT) AS value, count(*) AS n,
       round(avg(reference_score), 3) || ' against ' || round(avg(mean_score), 3) AS detail
FROM gap WHERE reference_score IS NOT NULL AND mean_score IS NOT NULL GROUP BY ALL
