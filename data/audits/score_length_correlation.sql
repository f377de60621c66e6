-- title: Score follows length
-- meaning: Correlation (its size) of score with words among the answers to the same problem.
-- threshold: 0.6
-- direction: at_most
-- blocks: no
-- needs: 20
SELECT run, round, abs(corr(score, words)) AS value, count(*) AS n, 'r = ' || round(corr(score, words), 2) AS detail
FROM (
    SELECT run, round, t.score - avg(t.score) OVER problem AS score, a.words - avg(a.words) OVER problem AS words
    FROM ratings t JOIN answers a USING (run, round, answer_id)
    WHERE t.status = 'ok' AND t.score IS NOT NULL AND a.rollout >= 0
    WINDOW problem AS (PARTITION BY run, round, t.problem_id)
)
GROUP BY ALL
