-- title: Criteria without variance
-- meaning: Share of criteria on which all answers of the problem have the same rating: met by all, or by none.
-- threshold: 0.6
-- direction: at_most
-- blocks: no
-- needs: 10
SELECT run, round, avg((spread < 1e-9)::INT) AS value, count(*) AS n
FROM (
    SELECT t.run, t.round, hash(t.rubric_id, t.name) AS criterion, max(t.rating) - min(t.rating) AS spread
    FROM criterion_ratings t
    ANTI JOIN (SELECT run, round, answer_id FROM answers WHERE rollout < 0) x USING (run, round, answer_id)
    GROUP BY ALL HAVING count(t.rating) >= 2
)
GROUP BY ALL
