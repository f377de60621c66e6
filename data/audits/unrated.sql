-- title: Unrated answers
-- meaning: Share of usable answers to a problem with a rubric that have no score: the judge failed. They take no part, and
--   where it fails on some kind of answer, that kind is never learned from.
-- threshold: 0.2
-- direction: at_most
-- blocks: no
-- needs: 10
SELECT t.run, t.round, avg((t.score IS NULL)::INT) AS value, count(*) AS n
FROM ratings t
ANTI JOIN (SELECT run, round, answer_id FROM answers WHERE rollout < 0) x USING (run, round, answer_id)
GROUP BY ALL
