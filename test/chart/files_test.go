package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// The chart rejects storages that would lose files, or cut off their transfers.
func TestFilesRejected(t *testing.T) {
	for values, want := range map[string]string{
		"files: {storage: claim}\nrollout: {shutdownSeconds: 63}":                                                                           "files.claim.accessModes={ReadWriteMany}",
		"files: {storage: claim}\nrollout: {shutdownSeconds: 63}\nservices: {article: {replicas: null}}":                                    "files.claim.accessModes={ReadWriteMany}",
		"files: {storage: claim}\nrollout: {shutdownSeconds: 63}\nservices: {article: {replicas: 1, autoscaling: {enabled: true}}}":         "without autoscaling",
		"files: {storage: claim, claim: {existingClaim: mine}}\nrollout: {shutdownSeconds: 63}":                                             "files.claim.accessModes={ReadWriteMany}",
		"files: {storage: s3}\nrollout: {shutdownSeconds: 63}":                                                                              "files.storage=s3 requires files.s3.url",
		"files: {storage: s3, s3: {url: \"s3://files\"}}\nrollout: {shutdownSeconds: 62}":                                                   "set rollout.shutdownSeconds=63",
		"files: {s3: {url: \"s3://files\"}}":                                                                                                "set files.storage=s3",
		"files: {claim: {existingClaim: mine}}":                                                                                             "set files.storage=claim",
		"files: {storage: s3, s3: {url: \"s3://files\"}}\nrollout: {shutdownSeconds: 63}\nservices: {article: {config: {Files: {URL: x}}}}": "services.article.config.Files.URL is derived",
	} {
		require.Contains(t, rejection(t, values), want, values)
	}
}

func TestFilesAccepted(t *testing.T) {
	for _, values := range []string{
		"files: {storage: claim}\nrollout: {shutdownSeconds: 63}\nservices: {article: {replicas: 1}}",
		"files: {storage: claim, claim: {existingClaim: mine, accessModes: [ReadWriteMany]}}\nrollout: {shutdownSeconds: 63}",
		"files: {storage: s3, s3: {url: \"s3://files?region=eu-central-1\"}}\nrollout: {shutdownSeconds: 63}",
	} {
		require.NotEmpty(t, render(t, values))
	}
}
