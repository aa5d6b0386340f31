-- Format 11. What stands before the user's words in the first user message of a session whose tools npast
-- runs (memory, skills, the project's file, folder, day), and how many of the head's first tokens do not
-- depend on it. Sessions of before have all of it in their system text: no preface, and no such number.

ALTER TABLE sessions ADD COLUMN preface TEXT;
ALTER TABLE sessions ADD COLUMN common INTEGER;
