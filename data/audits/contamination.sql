-- title: Contamination with evaluation texts
-- meaning: Share of problems that share 13 words in a row with a held-out document or with a file of `evaluation.files` or `evaluation.exams`.
-- threshold: 0.01
-- direction: at_most
-- blocks: no
-- needs: 1
WITH problem AS (SELECT run, round, problem_id, ngrams(problem, 13) AS grams FROM problems WHERE status = 'ok'),
evaluation AS (SELECT DISTINCT run, source, unnest(ngrams(text, 13)) AS gram FROM evaluation_texts),
hit AS (
    SELECT p.run, p.round, p.problem_id, any_value(e.source) AS source
    FROM (SELECT run, round, problem_id, unnest(grams) AS gram FROM problem) p JOIN evaluation e USING (run, gram)
    GROUP BY ALL
)
SELECT p.run, p.round, count(h.problem_id) / count(*) AS value, count(*) AS n, 'with ' || any_value(h.source) AS detail
FROM problem p LEFT JOIN hit h USING (run, round, problem_id)
WHERE len(p.grams) > 0 AND p.run IN (SELECT run FROM evaluation) GROUP BY ALL
