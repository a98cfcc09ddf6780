"""The process executor: servers, jobs and Ray on one machine."""
