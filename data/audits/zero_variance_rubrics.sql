-- title: Rubrics without variance
-- meaning: Share of rubrics under which all answers of the problem have the same score. They tell no answer from another.
-- threshold: 0.5
-- direction: at_most
-- blocks: no
-- needs: 10
SELECT run, round, avg((spread < 1e-9)::INT) AS value, count(*) AS n
FROM (
    SELECT t.run, t.round, t.rubric_id, max(t.score) - min(t.score) AS spread
    FROM ratings t
    ANTI JOIN (SELECT run, round, answer_id FROM answers WHERE rollout < 0) x USING (run, round, answer_id)
    WHERE t.status = 'ok' GROUP BY ALL HAVING count(t.score) >= 2
)
GROUP BY ALL
