-- title: Ties
-- meaning: Share of problems without a pair because their answers score alike.
-- threshold: 0.5
-- direction: at_most
-- blocks: no
-- needs: 10
SELECT run, round, avg((status = 'tie')::INT) AS value, count(*) AS n
FROM (SELECT run, round, problem_id, any_value(status) AS status FROM pairs GROUP BY ALL)
WHERE status NOT IN ('no_rubric', 'few_answers') GROUP BY ALL
