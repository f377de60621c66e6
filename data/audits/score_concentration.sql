-- title: Scores in one place
-- meaning: Share of the answers' scores in the fullest tenth of a point. Near 1: a judge that always says the same.
-- threshold: 0.8
-- direction: at_most
-- blocks: yes
-- needs: 30
SELECT run, round, max(answers) / sum(answers) AS value, sum(answers)::BIGINT AS n,
       'around ' || round(arg_max(place, answers), 1) AS detail
FROM (
    SELECT t.run, t.round, round(t.score, 1) AS place, count(*) AS answers
    FROM ratings t
    ANTI JOIN (SELECT run, round, answer_id FROM answers WHERE rollout < 0) x USING (run, round, answer_id)
    WHERE t.status = 'ok' AND t.score IS NOT NULL GROUP BY ALL
)
GROUP BY ALL
