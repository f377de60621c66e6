-- title: Position bias
-- meaning: How far the share of comparisons won by the answer shown first is from one half (ties left out).
-- threshold: 0.15
-- direction: at_most
-- blocks: no
-- needs: 20
SELECT run, round, abs(avg((first_mark > second_mark)::INT) - 0.5) AS value, count(*) AS n,
       'first wins ' || round(avg((first_mark > second_mark)::INT), 2) AS detail
FROM comparisons WHERE status = 'ok' AND first_mark <> second_mark GROUP BY ALL
