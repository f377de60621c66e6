-- title: Weight on one criterion
-- meaning: Share of rubrics of two or more criteria in which one criterion has more than two thirds of the weight.
-- threshold: 0.5
-- direction: at_most
-- blocks: no
-- needs: 10
SELECT run, round, avg((heaviest / total > 2 / 3)::INT) AS value, count(*) AS n
FROM (
    SELECT run, round, list_max(list_transform(criteria, lambda c: c.weight)) AS heaviest,
           list_sum(list_transform(criteria, lambda c: c.weight)) AS total
    FROM rubrics WHERE status = 'ok' AND len(criteria) > 1
)
GROUP BY ALL
