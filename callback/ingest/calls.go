package ingest

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
)

func (s *Service) listPublications(r *http.Request) (int, any, error) {
	q, err := query(r, "platform", "family", "arch", "status", "git_sha", "current", "limit", "cursor")
	if err != nil {
		return 0, nil, err
	}
	return s.answerPublications(r, q, q.Get("platform"))
}

func (s *Service) listPlatformPublications(r *http.Request) (int, any, error) {
	q, err := query(r, "family", "arch", "status", "git_sha", "current", "limit", "cursor")
	if err != nil {
		return 0, nil, err
	}
	var p Platform
	err = s.store.view(r.Context(), func(t *tx) (err error) {
		p, err = t.platform("id", r.PathValue("id"))
		return err
	})
	if err != nil {
		return 0, nil, err
	}
	return s.answerPublications(r, q, p.ID)
}

func (s *Service) answerPublications(r *http.Request, q url.Values, platform string) (int, any, error) {
	p, err := page(q)
	if err != nil {
		return 0, nil, err
	}
	f := Filter{Platform: platform, Family: q.Get("family"), Arch: q.Get("arch"), Status: q.Get("status"), GitSHA: q.Get("git_sha")}
	if v := q.Get("current"); v != "" {
		current, err := strconv.ParseBool(v)
		if err != nil {
			return 0, nil, fmt.Errorf("%w current: %q is neither true nor false", ErrInvalid, v)
		}
		f.Current = &current
	}
	l, err := s.Publications(r.Context(), f, p)
	return http.StatusOK, paged(l), err
}

func (s *Service) getPublication(r *http.Request) (int, any, error) {
	p, err := s.Publication(r.Context(), r.PathValue("id"))
	return http.StatusOK, p, err
}

func (s *Service) listPlatforms(r *http.Request) (int, any, error) {
	q, err := query(r, "limit", "cursor")
	if err != nil {
		return 0, nil, err
	}
	p, err := page(q)
	if err != nil {
		return 0, nil, err
	}
	l, err := s.Platforms(r.Context(), p)
	return http.StatusOK, paged(l), err
}

func (s *Service) postPlatform(r *http.Request) (int, any, error) {
	var in struct {
		Name string `json:"name"`
		PlatformChange
	}
	if err := decode(r, &in); err != nil {
		return 0, nil, err
	}
	p, err := s.CreatePlatform(r.Context(), in.Name, in.PlatformChange)
	return http.StatusCreated, p, err
}

func (s *Service) patchPlatform(r *http.Request) (int, any, error) {
	var in PlatformChange
	if err := decode(r, &in); err != nil {
		return 0, nil, err
	}
	p, err := s.UpdatePlatform(r.Context(), r.PathValue("id"), in)
	return http.StatusOK, p, err
}

// newWebhook is the one answer that holds a secret.
type newWebhook struct {
	Webhook
	Secret string `json:"secret"`
	// Path is the webhook's URL without scheme and host.
	Path string `json:"path"`
}

func (s *Service) postWebhook(r *http.Request) (int, any, error) {
	var in struct {
		PlatformID string `json:"platform_id"`
	}
	if err := decode(r, &in); err != nil {
		return 0, nil, err
	}
	w, secret, err := s.CreateWebhook(r.Context(), in.PlatformID)
	return http.StatusCreated, newWebhook{w, string(secret), apiRoot + "webhooks/disk_image/built/" + w.ID}, err
}

func (s *Service) listAttempts(r *http.Request) (int, any, error) {
	if _, err := query(r); err != nil {
		return 0, nil, err
	}
	all, err := s.RecentAttempts(r.Context(), r.PathValue("id"))
	return http.StatusOK, paged(List[Attempt]{Items: all}), err
}
