-- title: Answers that copy the reference
-- meaning: Share of answers (of up to 200 problems) that hold at least 0.8 of the word 5-grams of the reference answer,
--   which they should never have seen.
-- threshold: 0.05
-- direction: at_most
-- blocks: yes
-- needs: 10
WITH sample AS (
    SELECT run, round, problem_id, reference_answer FROM problems WHERE status = 'ok'
    QUALIFY row_number() OVER (PARTITION BY run, round ORDER BY hash(problem_id)) <= 200
)
SELECT run, round, avg((share >= 0.8)::INT) AS value, count(*) AS n
FROM (
    SELECT run, round, share_of_ngrams(s.reference_answer, a.final, 5) AS share
    FROM sample s JOIN answers a USING (run, round, problem_id) WHERE a.rollout >= 0 AND a.hint IS NULL AND a.status = 'ok'
)
WHERE share IS NOT NULL GROUP BY ALL
