-- title: Survivors
-- meaning: Share of the answers asked for that have a score; of a candidate's exam, as a share of its parent's. Where
--   most are missing (cut, empty, not rateable), every figure is a figure of those that got through.
-- threshold: 0.5
-- direction: at_least
-- blocks: yes
-- needs: 10
SELECT a.run, a.round, 'answers' AS part, avg((a.status = 'ok' AND t.score IS NOT NULL)::INT) AS value, count(*) AS n
FROM answers a
SEMI JOIN (SELECT run, round, problem_id FROM rubrics WHERE status = 'ok') r USING (run, round, problem_id)
LEFT JOIN (SELECT run, round, answer_id, max(score) AS score FROM ratings WHERE status = 'ok' GROUP BY ALL) t
    USING (run, round, answer_id)
WHERE a.rollout >= 0 GROUP BY ALL
UNION ALL BY NAME
SELECT c.run, c.round, 'exam of ' || c.model_id[:12] AS part, c.value / nullif(p.value, 0) AS value, c.n
FROM evaluations c
JOIN evaluations p ON p.run = c.run AND p.round = c.round AND p.model_id = c.parent_model_id
    AND p.suite = c.suite AND p.metric = c.metric AND p.status = 'ok'
WHERE c.suite = 'heldout' AND c.metric = 'rated_share' AND c.status = 'ok'
