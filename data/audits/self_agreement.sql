-- title: Judge's agreement with itself
-- meaning: Share of the variance of scores that is not the judge's own noise, from repeated judgements of the same answer
--   (`rating.samples` above 1): 1 - mean variance within an answer / variance of all.
-- threshold: 0.5
-- direction: at_least
-- blocks: no
-- needs: 20
WITH repeated AS (
    SELECT run, round, answer_id, unnest(sample_scores) AS score, spread
    FROM ratings WHERE status = 'ok' AND len(sample_scores) > 1
)
SELECT run, round, 1 - avg(spread ^ 2) / nullif(var_samp(score), 0) AS value, count(DISTINCT answer_id) AS n
FROM repeated GROUP BY ALL
