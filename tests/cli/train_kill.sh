# A run that is killed at random moments and resumed gives the bits of a run that was left alone: the short form.
exec scripts/torture_resume.sh 20
